"""FeatureCache: what a frozen encoder makes of clips, on the disk, under the hash of each clip's samples."""

import contextlib
import hashlib
import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import filelock
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from speechbrain_ext.atomic_write import atomic_write, delete_leftovers, write_json
from speechbrain_ext.errors import InputError, in_one_line

logger = logging.getLogger(__name__)
FORMAT = 1
ENCODER_FILE = "encoder.json"
SHARD = "*.safetensors"
UNREADABLE = (SafetensorError, KeyError, TypeError, ValueError, RuntimeError)


def samples_key(samples: torch.Tensor) -> str:
    """Compute the key of a clip out of its samples [T], float32: the same recording has it under any path.

    Example
    -------
    >>> samples_key(torch.tensor([0.0, 1.0])) == samples_key(torch.tensor([1.0, 0.0]))
    False
    """
    return hashlib.sha256(samples.numpy().tobytes()).hexdigest()[:32]


class FeatureCache:
    """Features of clips in one folder, of one encoder, in half precision; many processes may read and add at a time.

    The features of some hundred clips are one safetensors file, a shard. It takes its name when it is complete, so a
    process that is killed leaves nothing that could be taken for features. Shards are mapped into memory: processes
    share what they read, and a batch costs one copy of its clips. Each shard says its encoder and a checksum (CRC-32),
    which are compared when it is opened; a damaged shard is named, deleted and computed again.

    Arguments
    ---------
    root : str or pathlib.Path
        The folder of all caches, made where it is missing.
    encoder : dict
        Plain values that decide which features a clip has. The cache's folder is named by their hash.

    Attributes
    ----------
    folder : pathlib.Path
        The folder of this encoder's features.

    Raises
    ------
    InputError
        If the folder cannot be written, or holds the features of another encoder.

    Example
    -------
    >>> cache = FeatureCache(getfixture("tmp_path"), {"model_type": "hubert", "weights": "0123"})
    >>> cache.add({"a": torch.ones(1, 2, 8)})
    >>> cache["a"].shape, cache["a"].dtype, "b" in cache
    (torch.Size([1, 2, 8]), torch.float16, False)
    """

    def __init__(self, root: str | Path, encoder: Mapping[str, Any]) -> None:
        self.encoder = json.loads(json.dumps({"format": FORMAT, **encoder}))
        self.key = hashlib.sha256(json.dumps(self.encoder, sort_keys=True).encode()).hexdigest()
        self.folder = Path(root) / f"{encoder.get('model_type', 'encoder')}-{self.key[:16]}"
        self._features: dict[str, torch.Tensor] = {}
        self._opened: set[str] = set()
        self._claim()
        self.refresh()

    def _claim(self) -> None:
        """Make the folder, with what its encoder is, or find it there."""
        path = self.folder / ENCODER_FILE
        try:
            if not path.exists():
                write_json(self.encoder, path)
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError):  # damaged; each shard says its encoder as well
                logger.warning("%s is damaged, and is written again.", path)
                write_json(found := self.encoder, path)
        except OSError as error:
            raise self._unwritable(error) from error
        if found != self.encoder:
            raise InputError(
                f"feature_cache: {self.folder} holds the features of another encoder, says {ENCODER_FILE} there. "
                "Delete that folder, or choose another --feature_cache."
            )

    def refresh(self) -> None:
        """Open the shards that have been added since, by this process or another."""
        for path in sorted(self.folder.glob(SHARD)):
            if path.name not in self._opened:
                self._open(path)

    def _open(self, path: Path) -> None:
        self._opened.add(path.name)
        try:
            with safe_open(path, "pt") as file:
                about, features, n_frames = file.metadata(), file.get_tensor("features"), file.get_tensor("n_frames")
            clips = json.loads(about["clips"])
            whole = int(about["crc32"]) == _checksum(features, n_frames, about["clips"])
        except OSError as error:  # of the moment, such as too many open files: the features may be whole
            logger.warning("%s is not used: it cannot be opened (%s). It is left as it is.", path, error)
            return
        except UNREADABLE as error:
            why = f"it cannot be read ({in_one_line(error)})"
        else:
            if whole and about["encoder"] == self.key:
                self._features.update(zip(clips, features.split(n_frames.tolist())))  # [sum of F, K, D] -> [F, K, D]
                return
            why = "it holds the features of another encoder" if whole else "its checksum is wrong"
        logger.warning("%s is not used: %s. It is deleted, and its clips are computed again.", path, why)
        with contextlib.suppress(OSError):  # another process did it, or the folder can only be read
            path.unlink()
            self._opened.discard(path.name)  # whoever computes these clips again gives it the same name

    def __contains__(self, clip: str) -> bool:
        return clip in self._features

    def __getitem__(self, clip: str) -> torch.Tensor:
        """Return a clip's features, [frames F, layers K, D], float16, mapped from the disk."""
        return self._features[clip]

    def add(self, features: Mapping[str, torch.Tensor], utt_ids: Optional[Mapping[str, str]] = None) -> None:
        """Add the features of clips as one shard.

        Arguments
        ---------
        features : dict
            Clip's key -> features [frames F, layers K, D]. They are rounded to half precision.
        utt_ids : dict, optional
            Clip's key -> what an error calls it.

        Raises
        ------
        InputError
            If a feature is beyond half precision (65504) or not finite, or if there is no room; the cache stays as it
            was.
        """
        half = {clip: one.to("cpu", torch.float16) for clip, one in features.items()}
        for clip, one in half.items():
            if not one.isfinite().all():
                name = (utt_ids or {}).get(clip, clip)
                raise InputError(
                    f"the features of {name} are beyond half precision, or not finite (largest magnitude "
                    f"{features[clip].abs().max():g}): they cannot be cached. Use --cache_features=False."
                )
        stacked = torch.cat(list(half.values()))  # [sum of F, K, D]
        n_frames = torch.tensor([len(one) for one in half.values()])
        clips = json.dumps(list(half))
        about = {"clips": clips, "encoder": self.key, "crc32": str(_checksum(stacked, n_frames, clips))}
        name = hashlib.sha256(clips.encode()).hexdigest()[:16]
        delete_leftovers(self.folder, f"{name}.safetensors")
        try:
            with atomic_write(self.folder / f"{name}.safetensors", binary=True) as file:
                file.write(save({"features": stacked, "n_frames": n_frames}, about))
        except OSError as error:
            raise self._unwritable(error) from error
        self.refresh()

    def lock(self, name: str) -> filelock.FileLock:
        """Make a lock for a part of the work, which one process at a time holds; it ends with the process."""
        try:
            (self.folder / "locks").mkdir(exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        return filelock.FileLock(self.folder / "locks" / name)

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"feature_cache {self.folder.parent} cannot be written: {error.strerror or error}. Choose another "
            "--feature_cache, or make room there; what is in it stays."
        )


def _checksum(features: torch.Tensor, n_frames: torch.Tensor, clips: str) -> int:
    checksum = zlib.crc32(clips.encode(), zlib.crc32(np.ascontiguousarray(n_frames.numpy()).data))
    return zlib.crc32(features.view(torch.uint8).numpy().data, checksum)
