#!/usr/bin/env python3
"""Make the synthetic demo corpus: see `--help`.

python recipes/IEMOCAP/make_demo_corpus.py demo_corpus
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout runs without being installed
from speechbrain_ext.corpora.synthetic import main  # noqa: E402

if __name__ == "__main__":
    main()
