"""Classifying many recordings: found, grouped by length, read ahead, and each answered for, readable or not."""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import soundfile
import torch

from speechbrain_ext.dataio.audio import probe_audio, read_audio
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.speech_detector import SpeechDetector, has_speech
from speechbrain_ext.limits import LONGEST_PREDICTED_S
from speechbrain_ext.lobes.batch_length import batches_by_length, longest_batch_s

# libsndfile's names of its formats, but for samples without a header, and other endings of what it and PyAV read.
ENDINGS = {f".{name.lower()}" for name in soundfile.available_formats() if name != "RAW"} | set(
    ".3ga .3gp .aac .aif .aifc .amr .ape .awb .flv .gsm .m4a .m4b .mka .mkv .mov .mp4 .mpga .oga .opus .snd .sph .spx "
    ".wave .webm .wma .wv".split()
)
BATCHES_AHEAD = READERS = 2  # batches that are read while another is classified, and threads that read


@dataclass(frozen=True)
class Prediction:
    """The answer on one recording.

    Attributes
    ----------
    path : str
        The recording, as it was given.
    duration_s : float or None
        Its length; None where it cannot be read.
    predicted : str or None
        The most probable emotion; None where no speech was found.
    posteriors : tuple of float or None
        One for each emotion, in the classifier's order.
    error : str or None
        Why there is no answer.
    speech : float or None
        The share of the recording that is speech, from 0 to 1; None where nobody has looked for it.
    """

    path: str
    duration_s: Optional[float] = None
    predicted: Optional[str] = None
    posteriors: Optional[tuple[float, ...]] = None
    error: Optional[str] = None
    speech: Optional[float] = None


def find_recordings(folder: str | Path) -> tuple[list[str], list[str]]:
    """Find all recordings in a folder and the folders in it, by their names' endings.

    Arguments
    ---------
    folder
        The folder. Hidden files and folders are left out, and so are the `._*` files that macOS adds.

    Returns
    -------
    tuple
        (recordings, other files): paths that begin with `folder`, sorted.
    """
    found: list[str] = []
    others: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                (found if Path(name).suffix.lower() in ENDINGS else others).append(str(Path(parent) / name))
    return sorted(found), sorted(others)


def measure_recordings(
    paths: list[str], max_s: float = LONGEST_PREDICTED_S
) -> tuple[dict[str, float], list[Prediction]]:
    """Read the headers of recordings.

    Arguments
    ---------
    paths
        The recordings, in any format that `open_audio` reads.
    max_s
        Longer recordings are not to be classified as one: an emotion seldom lasts that long.

    Returns
    -------
    tuple
        (durations: dict, path -> length in seconds; failed: list of Prediction, with their errors).
    """
    durations: dict[str, float] = {}
    failed: list[Prediction] = []
    for path in paths:
        try:
            duration_s = probe_audio(path, Path(path).name, check_samples=False, max_s=max_s).duration_s
            if duration_s > max_s:
                raise InputError(
                    f"{Path(path).name} is longer than the {max_s:g} s that are classified as one. Use "
                    "`speechbrain-ext timeline`, or raise --max_s."
                )
            durations[path] = duration_s
        except InputError as error:
            failed.append(Prediction(path, error=str(error)))
    return durations, failed


def classify_recordings(
    classifier: Any,
    durations: dict[str, float],
    batch_size: int = 16,
    max_padded_s: Optional[float] = None,
    detector: Optional[SpeechDetector] = None,
    answered: Optional[Mapping[str, float]] = None,
) -> Iterator[Prediction]:
    """Classify recordings, those of similar length together.

    Arguments
    ---------
    classifier
        As `load_classifier` returns it.
    durations
        Path -> length in seconds, as `measure_recordings` returns it.
    batch_size
        Largest number of recordings in a batch.
    max_padded_s
        Largest length of a batch with its padding, in seconds, unless it is one recording: longer ones come in smaller
        batches. By default what suits the classifier's device.
    detector
        Looks for speech; a recording without any gets no emotion. By default nobody looks.
    answered
        Path -> length of what an interrupted run has classified: it keeps its place in the batches, and is computed
        again with the others of its batch, so that those have the bits that they would have had.

    Yields
    ------
    Prediction
        One for each recording, the longest first. What cannot be read is answered with its error.
    """
    if max_padded_s is None:
        encoder = classifier.mods.embedding_model.encoder
        max_padded_s = longest_batch_s(encoder, classifier.device, classifier.hparams.sample_rate)
    known = answered or {}
    lengths_s = {path: round(length_s, 3) for path, length_s in {**known, **durations}.items()}  # as a file has them
    longest_first = sorted(lengths_s, key=lambda path: (-lengths_s[path], path))  # memory peaks early
    fixed_s = getattr(classifier.hparams, "fixed_length_s", None) or 0.0
    padded_s = {path: max(length_s, fixed_s) for path, length_s in lengths_s.items()}
    sample_rate = classifier.hparams.sample_rate
    with ThreadPoolExecutor(READERS) as readers:
        ahead: deque = deque()
        for batch in batches_by_length(longest_first, padded_s, batch_size, max_padded_s):
            if not durations.keys().isdisjoint(batch):
                clips = [(path, durations.get(path, 0.0), readers.submit(_read, path, sample_rate)) for path in batch]
                ahead.append(clips)
            if len(ahead) > BATCHES_AHEAD:
                yield from (one for one in _classify(classifier, ahead.popleft(), detector) if one.path in durations)
        while ahead:
            yield from (one for one in _classify(classifier, ahead.popleft(), detector) if one.path in durations)


def check_length(classifier: Any, n_samples: int, name: str) -> None:
    """Refuse a clip that is too short or too long for the classifier's encoder.

    Arguments
    ---------
    classifier
        As `load_classifier` returns it.
    n_samples
        The clip's length, at the classifier's sample rate.
    name
        The clip's name, for the message.

    Raises
    ------
    InputError
        Names the clip and both lengths.
    """
    model, rate_hz = classifier.mods.embedding_model, classifier.hparams.sample_rate
    least, most = model.min_samples, model.longest_samples
    if n_samples < least:
        raise InputError(
            f"{name} is {n_samples / rate_hz:.4f} s long; this model needs at least {least / rate_hz:.4f} s. Leave it "
            "out."
        )
    if most is not None and n_samples > most:
        raise InputError(
            f"{name} is {n_samples / rate_hz:.4f} s long; this model takes at most {most / rate_hz:g} s. Use "
            "`speechbrain-ext timeline`, which cuts a long recording into windows."
        )


def _read(path: str, sample_rate_hz: int) -> torch.Tensor:
    return torch.from_numpy(read_audio(path, Path(path).name, sample_rate_hz))


def _classify(
    classifier: Any, clips: list[tuple[str, float, Future]], detector: Optional[SpeechDetector]
) -> Iterator[Prediction]:
    wavs, read = [], []
    for path, duration_s, future in clips:
        try:
            wav = future.result()
            check_length(classifier, len(wav), Path(path).name)
        except InputError as error:
            yield Prediction(path, error=str(error))
        else:
            wavs.append(wav)
            read.append((path, duration_s))
    if not wavs:
        return
    n_samples = torch.tensor([len(wav) for wav in wavs])
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)  # [B, T]
    with torch.inference_mode(), classifier.inference_ctx:
        log_posteriors, _, _, labels = classifier.classify_batch(padded, n_samples / padded.shape[1])
    found = detector.detect(padded, n_samples) if detector else [None] * len(wavs)
    for (path, duration_s), label, row, is_speech in zip(read, labels, log_posteriors.exp().tolist(), found):
        if is_speech is None:
            yield Prediction(path, duration_s, label, tuple(row))
        else:
            predicted = label if has_speech(is_speech) else None
            yield Prediction(path, duration_s, predicted, tuple(row), speech=float(is_speech.mean()))
