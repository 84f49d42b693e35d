"""Folds that a corpus was published with: `parts` in the manifest's entries, and what these folds leak."""

from collections.abc import Sequence

from speechbrain_ext.dataio.manifest import UNKNOWN_SPEAKER, Manifest
from speechbrain_ext.dataio.overlaps import find_overlaps
from speechbrain_ext.errors import InputError, first_few

PARTS = ("train", "valid", "test")


def count_published_folds(manifest: Manifest) -> int:
    """Count the folds that the entries' `parts` describe; 0 for a corpus without folds of its own.

    Raises
    ------
    InputError
        If an entry has no parts, too many or unknown ones.

    Example
    -------
    >>> count_published_folds({"a": {"parts": ["train", "test"]}, "b": {"parts": ["test", ""]}})
    2
    """
    first = next((entry["parts"] for entry in manifest.values() if "parts" in entry), None)
    if first is None:
        return 0
    for utt_id, entry in manifest.items():
        parts = entry.get("parts")
        if not isinstance(parts, list) or len(parts) != len(first) or any(part not in (*PARTS, "") for part in parts):
            raise InputError(
                f"{utt_id}: parts must be one of {', '.join(PARTS)} or an empty text for each of the {len(first)} "
                f"published folds, got {parts!r}."
            )
    return len(first)


def published_parts(manifest: Manifest, fold: int) -> dict[str, list[str]]:
    """Return the sorted ids of each of `PARTS` of a published fold, counted from 1."""
    return {
        part: sorted(utt_id for utt_id, entry in manifest.items() if entry["parts"][fold - 1] == part) for part in PARTS
    }


def describe_leaks(manifest: Manifest, seen: Sequence[str], test: Sequence[str]) -> list[str]:
    """Say what a test part shares with the parts that are trained and validated on.

    Arguments
    ---------
    manifest : dict
        {id: {speaker, group, ...}}; `copy_of` names one of the recordings that hold the same samples.
    seen, test : list of str
        Ids that are trained or validated on; ids that are tested.

    Returns
    -------
    list of str
        What is shared, or not known; empty for nothing.

    Example
    -------
    >>> entries = {"a": ("s1", "g1"), "b": ("s1", "g2"), "c": ("s2", "g3")}
    >>> manifest = {utt_id: {"speaker": s, "group": g} for utt_id, (s, g) in entries.items()}
    >>> describe_leaks(manifest, ["a"], ["b", "c"])
    ['it shares 1 of 2 test speakers with training (s1)']
    """
    leaks = []
    unknown = sum(manifest[utt_id]["speaker"] == UNKNOWN_SPEAKER for utt_id in test)
    if unknown:
        leaks.append(f"it does not say who speaks in {unknown} of {len(test)} test utterances")
    alike = all(entry["group"] == entry["speaker"] for entry in manifest.values())
    for field in ("speaker",) if alike else ("speaker", "group"):
        tested, trained = ({manifest[utt_id][field] for utt_id in part} - {UNKNOWN_SPEAKER} for part in (test, seen))
        if shared := sorted(tested & trained):
            n = f"{len(shared)} of {len(tested)}"
            leaks.append(f"it shares {n} test {field}s with training ({first_few(shared, 5)})")
    originals = {manifest[utt_id].get("copy_of", utt_id): utt_id for utt_id in seen}
    copies = [
        f"{utt_id} is {originals[original]}"
        for utt_id in test
        if (original := manifest[utt_id].get("copy_of", utt_id)) in originals
    ]
    if copies:
        n = f"{len(copies)} of {len(test)}"
        leaks.append(f"{n} test recordings are also in training under another id ({first_few(copies)})")
    overlaps = find_overlaps(manifest, {**dict.fromkeys(seen, "training"), **dict.fromkeys(test, "test")})
    overlaps = [(a, b) for a, b in overlaps if manifest[a].get("copy_of", a) != manifest[b].get("copy_of", b)]
    if overlaps:
        leaks.append(f"{len(overlaps)} clips overlap in their recordings ({' and '.join(overlaps[0])}, for one)")
    return leaks
