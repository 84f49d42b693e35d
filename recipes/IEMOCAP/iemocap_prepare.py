#!/usr/bin/env python3
"""Prepare IEMOCAP: see `--help`.

python recipes/IEMOCAP/iemocap_prepare.py /path/to/IEMOCAP_full_release manifest.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout runs without being installed
from speechbrain_ext.commands.main import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("prepare", sys.argv[1:], "iemocap_prepare.py", fixed=("--corpus=iemocap",)))
