#!/usr/bin/env python3
"""Report on tested runs: see `--help`.

python recipes/IEMOCAP/report.py results/loso
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout runs without being installed
from speechbrain_ext.errors import InputError  # noqa: E402
from speechbrain_ext.results.report import main  # noqa: E402

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (InputError, OSError) as error:
        sys.exit(f"report.py: {error}")
