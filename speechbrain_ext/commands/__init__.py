"""The command `speechbrain-ext`: argparse only, one file a command.

May import: all rooms.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "main": ["main"],
    },
)
