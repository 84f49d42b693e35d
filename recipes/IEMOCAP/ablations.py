#!/usr/bin/env python3
"""Run the paper's studies: see `--help`.

python recipes/IEMOCAP/ablations.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --jobs=5
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout runs without being installed
from speechbrain_ext.launch.ablations import main  # noqa: E402
from speechbrain_ext.launch.plan import run_command  # noqa: E402

if __name__ == "__main__":
    run_command("ablations.py", main)
