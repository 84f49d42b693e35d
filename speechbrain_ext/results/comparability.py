"""Whether published results may be shown beside a run's, and what must be said beside its numbers."""

from collections.abc import Sequence

from speechbrain_ext.corpora import PublishedResult, get_corpus


def published_results(corpus: str, faults: Sequence[str], emotions: Sequence[str]) -> tuple[PublishedResult, ...]:
    """Return the published results that may be shown beside a run's: none unless it tests that very corpus.

    Arguments
    ---------
    corpus, faults, emotions
        The values of "corpus", "corpus_faults" and "emotions" in its test_metrics.json.

    Example
    -------
    >>> published_results("iemocap", [], ["sad", "ang", "neu", "hap"])[-1].WA
    75.37
    >>> published_results("iemocap", [], ["sad", "ang"])
    ()
    """
    found = get_corpus(corpus)
    comparable = not faults and sorted(emotions) == sorted(found.emotions)
    return found.published if comparable else ()


def cautions(corpora: Sequence[str], faults: Sequence[str]) -> list[str]:
    """Say what numbers are not: the notes of their corpora, and why these are not the complete published ones.

    Example
    -------
    >>> cautions(["iemocap"], ["Session5 is missing."])
    ['Not the complete published IEMOCAP: Session5 is missing. Published results are not comparable.']
    """
    found = [get_corpus(corpus) for corpus in corpora]
    notes = [corpus.note for corpus in found if corpus.note]
    if faults:
        titles = ", ".join(corpus.title for corpus in found)
        text = "; ".join(fault.removesuffix(".") for fault in faults)
        notes.append(f"Not the complete published {titles}: {text}. Published results are not comparable.")
    return notes
