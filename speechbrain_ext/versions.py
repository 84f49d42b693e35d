"""The versions of what a result depends on."""

import functools
import platform
import sys
from importlib.metadata import distributions, version

from speechbrain_ext import __version__


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a trained model depends on.

    Returns
    -------
    dict
        Name -> version.

    Example
    -------
    >>> sorted(versions())
    ['python', 'speechbrain', 'speechbrain_ext', 'torch', 'torchaudio', 'transformers']
    """
    packages = ("speechbrain", "torch", "torchaudio", "transformers")
    return {
        "python": platform.python_version(),
        "speechbrain_ext": __version__,
        **{name: version(name) for name in packages},
    }


@functools.cache
def environment() -> str:
    """Describe this interpreter, its machine and the packages that it imports, a line each.

    SpeechBrain's own description asks the first `pip` on the PATH, which may belong to another environment.

    Example
    -------
    >>> "torch==" in environment()
    True
    """
    found = {data["Name"]: data["Version"] for data in (item.metadata for item in distributions()) if data["Name"]}
    packages = (f"{name}=={found[name]}" for name in sorted(found, key=str.lower))
    return "\n".join([f"Python {sys.version}", sys.executable, platform.platform(), *packages]) + "\n"
