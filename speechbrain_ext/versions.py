"""The versions of what a result depends on."""

import platform
from importlib.metadata import version

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
