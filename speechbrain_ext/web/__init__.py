"""The page in the browser that records or takes speech and shows what a model says of it.

May import: the ground, dataio and inference.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "server": ["serve_page"],
    },
)
