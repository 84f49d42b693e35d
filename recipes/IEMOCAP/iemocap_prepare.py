#!/usr/bin/env python3
"""Prepare IEMOCAP: see `--help`.

python recipes/IEMOCAP/iemocap_prepare.py /path/to/IEMOCAP_full_release manifest.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout runs without being installed
from speechbrain_ext.corpora.iemocap import main  # noqa: E402
from speechbrain_ext.errors import InputError  # noqa: E402

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"iemocap_prepare.py: {error}")
