#!/usr/bin/env python3
"""Run the paper's studies: see `--help`.

python recipes/IEMOCAP/ablations.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --jobs=5
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # a checkout runs without being installed
from speechbrain_ext.commands.main import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("ablations", sys.argv[1:], "ablations.py", fixed=[str(HERE / "train.py")]))
