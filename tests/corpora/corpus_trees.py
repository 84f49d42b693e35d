"""Trees in the naming schemes of published corpora, with recordings of a tenth of a second."""

import io
import re

import numpy as np
import soundfile

from speechbrain_ext.corpora import prepare_corpus


def tiny_wav(samples=1600):
    """Return the bytes of a short recording, 16 kHz mono."""
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * np.sin(np.arange(samples)), 16000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write_tree(folder, paths):
    """Write a recording at each path below a folder, and return the folder."""
    wav = tiny_wav()
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(wav)
    return folder


def read_incomplete(name, folder, **kwargs):
    """Prepare a copy of which parts are missing."""
    return prepare_corpus(name, folder, allow_incomplete=True, progress=False, **kwargs)


def describe_names(module, names):
    """Make the rows that a corpus's module makes of names of files, without the files."""
    whole = re.compile(rf"(?:.*/)?{module.NAMES.scheme}")
    return [module.NAMES.describe(whole.fullmatch(name)) for name in names]
