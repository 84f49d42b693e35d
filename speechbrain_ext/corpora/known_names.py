"""What the names of a known corpus's recordings say: who speaks, in which group, and with which emotion."""

import importlib
import re
from pathlib import PurePosixPath

from speechbrain_ext.corpora.base import CORPORA


def describe_name(corpus: str, name: str) -> dict[str, str]:
    """Tell what a path, or an utterance's id, says by the naming scheme of its corpus.

    Arguments
    ---------
    corpus : str
        A name of the registry; others say nothing.
    name : str
        The path of a recording, or an id; what others have put before the corpus's own name does no harm.

    Returns
    -------
    dict
        id, speaker and group, and where the names say it emo, gender, style and so on; empty where nothing is known.

    Example
    -------
    >>> describe_name("emodb", "downloads/emodb/wav/03a01Wa.wav")
    {'id': '03a01Wa', 'emo': 'ang', 'speaker': '03', 'group': '03', 'gender': 'male'}
    >>> describe_name("emodb", "noise.wav")
    {}
    """
    if corpus not in CORPORA:
        return {}
    module = importlib.import_module(f"speechbrain_ext.corpora.{corpus}")
    if hasattr(module, "NAMES"):
        pattern, describe = module.NAMES.scheme, module.NAMES.describe
    elif hasattr(module, "NAME"):
        pattern, describe = module.NAME, module.describe
    else:
        return {}
    path = PurePosixPath(name.replace("\\", "/"))
    stem = path.with_suffix("").as_posix() if path.suffix[1:].isalnum() and path.name else name
    names = (stem, stem.replace("-", "_"))  # ids often have other marks between the same parts
    scheme = re.compile(rf"(?:.*[/\W_])?(?P<whole>{pattern})", flags=re.DOTALL)
    match = next((found for found in map(scheme.fullmatch, names) if found), None)
    if not match:
        return {}
    told = {"id": match["whole"], **describe(match)}
    return {key: value for key, value in told.items() if isinstance(value, str)}
