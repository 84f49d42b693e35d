"""Training on cached features: each clip is encoded once, for all folds, seeds, heads and processes."""

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Optional

import torch
from speechbrain.utils.distributed import infer_device

from speechbrain_ext.dataio.clip_reader import ClipReader
from speechbrain_ext.dataio.feature_cache import FeatureCache, samples_key
from speechbrain_ext.dataio.feature_dataset import FeatureDataset
from speechbrain_ext.dataio.manifest import segment_of
from speechbrain_ext.dataio.remembered_hashes import RememberedHashes
from speechbrain_ext.dataio.sample_hash import SAMPLES_HASH
from speechbrain_ext.errors import InputError
from speechbrain_ext.training.cache_settings import cache_folder
from speechbrain_ext.training.feature_extraction import Clip, FeatureExtractor, fill_cache
from speechbrain_ext.training.run import Run

PARTS = ("train", "valid", "test")
HASHES_FILE = "known_files.json"
ENCODER = re.compile(r"^encoder: !new:speechbrain_ext\.lobes\.Truncated\w+$", re.MULTILINE)


def on_cached_features(text: str) -> str:
    """Wire a run's hyperparameter file for cached features: `CachedEncoder` takes the encoder's arguments.

    Arguments
    ---------
    text : str
        The whole file.

    Raises
    ------
    InputError
        If its encoder is none whose features can be cached.

    Example
    -------
    >>> on_cached_features("encoder: !new:speechbrain_ext.lobes.TruncatedHuBERT")
    'encoder: !new:speechbrain_ext.lobes.CachedEncoder'
    """
    text, n_found = ENCODER.subn("encoder: !new:speechbrain_ext.lobes.CachedEncoder", text)
    if not n_found:
        raise InputError(
            "cache_features: True needs an encoder that is a TruncatedEncoder, and this hyperparameter file has "
            "another one. Use --cache_features=False."
        )
    return text


def feature_datasets(
    hparams: Mapping[str, Any], run: Run, run_opts: Mapping[str, Any]
) -> dict[str, Optional[FeatureDataset]]:
    """Make the datasets of a run on cached features, once the cache has all that the run needs.

    Arguments
    ---------
    hparams : dict
        The hyperparameters, of which `encoder` is a `CachedEncoder`.
    run : Run
        The run.
    run_opts : dict
        SpeechBrain's run options.

    Returns
    -------
    dict
        train, valid and test, None where nothing validates; and each other corpus by its `place`.

    Raises
    ------
    InputError
        If the cache's folder cannot be used, or a recording cannot be read.
    """
    encoder, root, precision = hparams["encoder"], cache_folder(run.settings), hparams["eval_precision"]
    hashes = RememberedHashes(root / HASHES_FILE)
    cache = FeatureCache(root, {**encoder.identity(hashes), "precision": precision})
    entries = {part: {utt_id: run.manifest[utt_id] for utt_id in getattr(run.fold, part)} for part in PARTS}
    entries.update((other.place, other.manifest) for other in run.others)
    keys: dict[str, dict[str, str]] = {}
    clips: dict[str, Clip] = {}
    for part, of_part in entries.items():
        reader = hparams["train_clip" if part == "train" else "eval_clip"]
        masked = hparams["mask_padding"]
        read = {utt_id: partial(_read, reader, utt_id, entry, masked) for utt_id, entry in of_part.items()}
        keys[part] = clip_keys(reader, of_part, read, hashes, masked)
        clips.update(
            (key, Clip(utt_id, of_part[utt_id]["duration"], read[utt_id])) for utt_id, key in keys[part].items()
        )
    hashes.save()
    extract = FeatureExtractor(encoder, hparams["sample_rate"], run_opts["device"] or infer_device(), precision)
    fill_cache(cache, clips, extract, hparams["eval_batch_size"], not run_opts["noprogressbar"])
    return {
        part: FeatureDataset(of_part, hparams["emotions"], cache, keys[part], encoder.states) if of_part else None
        for part, of_part in entries.items()
    }


def clip_keys(
    reader: ClipReader,
    manifest: Mapping[str, Mapping[str, Any]],
    read: Mapping[str, Callable[[], torch.Tensor]],
    hashes: RememberedHashes,
    masked: bool = True,
) -> dict[str, str]:
    """Return the key of each clip: the hash of the samples that the encoder would get.

    Arguments
    ---------
    reader : ClipReader
        Cuts and scales the clips.
    manifest : dict
        Utterance id -> its entry.
    read : dict
        Utterance id -> function that reads its waveform.
    hashes : RememberedHashes
        Knows the keys of recordings that have not changed.
    masked : bool
        Whether the encoder does not see what was padded to `fixed_length_s`.
    """
    cuts = ["clip", reader.store.sample_rate_hz, reader.max_s, reader.fixed_length_s, reader.waveform_scale]
    what = json.dumps(cuts + ["masked"] * (masked and reader.fixed_length_s is not None))

    def place(utt_id: str) -> tuple[str, str]:
        entry = manifest[utt_id]
        segment = segment_of(entry)
        return entry["wav"], f"#{segment}" * bool(segment) + f"#{entry.get(SAMPLES_HASH, '')}"

    def key(utt_id: str) -> str:
        wav, part = place(utt_id)
        return hashes.get(what, wav, lambda: samples_key(read[utt_id]()), part)

    known = {utt_id: hashes.known(what, *place(utt_id)) for utt_id in read}
    new = [utt_id for utt_id, clip in known.items() if clip is None]
    with ThreadPoolExecutor() as readers:
        computed = dict(zip(new, readers.map(key, new)))
    return {utt_id: clip or computed[utt_id] for utt_id, clip in known.items()}


def _read(reader: ClipReader, utt_id: str, entry: Mapping[str, Any], masked: bool) -> torch.Tensor:
    """Read what the encoder sees of a clip: behind a mask, not what was padded to a fixed length."""
    wav, n_own = reader(utt_id, entry["wav"], segment=segment_of(entry), samples_hash=entry.get(SAMPLES_HASH))
    return wav[: int(n_own)] if masked else wav
