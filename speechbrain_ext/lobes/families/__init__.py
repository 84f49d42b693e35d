"""The families of encoders: a file each, named after its `model_type`, in which `FAMILY` is a subclass of `Family`."""

import importlib
import pkgutil

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.family import Family

_FILES = {module.name.replace("_", "-"): module.name for module in pkgutil.iter_modules(__path__)}
MODEL_TYPES = tuple(sorted(_FILES))


def get_family(model_type: object, whose: str = "the encoder") -> type[Family]:
    """Find a family by its `model_type`.

    Arguments
    ---------
    model_type : str
        As config.json names it.
    whose : str
        Who has this model_type, in the message.

    Raises
    ------
    InputError
        If no family has it; lists those that there are.

    Example
    -------
    >>> get_family("wavlm").model_class
    'WavLMModel'
    """
    if not isinstance(model_type, str) or model_type not in _FILES:
        named = "names no model_type" if model_type is None else f"is of a {model_type!r} model"
        raise InputError(f"{whose} {named}; known are {', '.join(MODEL_TYPES)}.")
    return importlib.import_module(f"{__name__}.{_FILES[model_type]}").FAMILY
