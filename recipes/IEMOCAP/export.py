#!/usr/bin/env python3
"""Export a trained fold as a bundle: see `--help`.

python recipes/IEMOCAP/export.py results/loso/seed1/fold1 exported
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout runs without being installed
from speechbrain_ext.commands.main import run_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_command("export", sys.argv[1:], "export.py"))
