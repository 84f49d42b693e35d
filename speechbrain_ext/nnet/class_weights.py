"""What class weights may be; without torch, so that a wrong setting is answered at once."""

from typing import Any

from speechbrain_ext.errors import InputError


def check_class_weights(weights: Any, n_classes: int | None = None) -> None:
    """Refuse what are no weights of classes.

    Arguments
    ---------
    weights
        None, "balanced", or a list of positive numbers.
    n_classes : int, optional
        How many numbers a list must have.

    Raises
    ------
    InputError
        Says what is allowed, and the value.

    Example
    -------
    >>> check_class_weights([1.0, 2.5], n_classes=2)
    >>> check_class_weights("rare")
    Traceback (most recent call last):
    speechbrain_ext.errors.InputError: class_weights must be null, balanced, or a list of positive numbers, got 'rare'.
    """
    if weights is None or weights == "balanced":
        return
    if not isinstance(weights, (list, tuple)) or not weights or not all(map(_is_weight, weights)):
        raise InputError(f"class_weights must be null, balanced, or a list of positive numbers, got {weights!r}.")
    if n_classes is not None and len(weights) != n_classes:
        raise InputError(
            f"class_weights must have one number for each of the {n_classes} emotions, in their order, got "
            f"{len(weights)}: {list(weights)}."
        )


def _is_weight(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
