#!/usr/bin/env python3
"""Train and test every fold with every seed, and report on all of them: see `--help`.

python recipes/IEMOCAP/run_loso.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --seeds=1,2,3
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # a checkout runs without being installed
from speechbrain_ext.commands.main import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("run", sys.argv[1:], "run_loso.py", fixed=[str(HERE / "train.py")]))
