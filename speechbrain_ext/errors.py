"""The one exception for what a user gave wrong."""


class InputError(ValueError):
    """An argument, a file or a corpus that cannot be used; the message says which, why and what to do.

    The recipes print the message alone, without a traceback.

    Example
    -------
    >>> str(InputError("fold must be 1 to 5, got 6."))
    'fold must be 1 to 5, got 6.'
    """
