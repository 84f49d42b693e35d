"""The only room that knows corpora: one file a corpus, and the registry that finds it by name.

May import: the ground and dataio.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": [
            "CORPORA",
            "Corpus",
            "PublishedResult",
            "find_corpus_name",
            "get_corpus",
        ],
        "preparation": ["PreparedCorpus", "prepare_corpus"],
        "synthetic": ["make_demo_corpus"],
    },
)
