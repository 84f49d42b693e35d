"""What multiprocessing's fork server imports before it starts a script's runs: all that the script imports."""

import contextlib
import os
import runpy

from speechbrain_ext.launch.warm_start import SCRIPT

if SCRIPT in os.environ:
    with contextlib.suppress(Exception):  # what is wrong with it, its runs say
        runpy.run_path(os.environ[SCRIPT], run_name="preloaded")  # not its main part
