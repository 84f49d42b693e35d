#!/usr/bin/env python3
"""Train and test every fold with every seed, and report on all of them: see `--help`.

python recipes/IEMOCAP/run_loso.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --seeds=1,2,3
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout runs without being installed
from speechbrain_ext.launch.plan import main, run_command  # noqa: E402

if __name__ == "__main__":
    run_command("run_loso.py", main)
