#!/usr/bin/env python3
"""Report on tested runs: see `--help`.

python recipes/IEMOCAP/report.py results/loso
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout runs without being installed
from speechbrain_ext.commands.main import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("report", sys.argv[1:], "report.py"))
