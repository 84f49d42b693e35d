"""What multiprocessing's fork server does before it starts a script's runs: importing, and reading what they share."""

import contextlib
import gc
import io
import json
import os
import runpy

from tqdm import tqdm

from speechbrain_ext.launch.warm_start import SCRIPT
from speechbrain_ext.lobes.pretrained import transformers_class
from speechbrain_ext.training.command_line import read_command_line
from speechbrain_ext.training.run import CORPORA_READ, Run
from speechbrain_ext.versions import environment

if SCRIPT in os.environ:
    script, *words = json.loads(os.environ[SCRIPT])
    tqdm.monitor_interval = 0  # no thread that holds a lock while a run is forked
    with contextlib.suppress(Exception):  # what is wrong, the runs say
        runpy.run_path(script, run_name="preloaded")  # not its main part
        if words:
            transformers_class("HubertModel")  # imports what models of all families do
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                line = read_command_line(words)
                _ = Run.read(line.hparams_file, line.overrides, CORPORA_READ).identity
            environment()
    gc.freeze()  # what is there is not looked through again, in no run
