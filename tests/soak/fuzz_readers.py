"""What is fuzzed: each reader of what comes from outside, with whole inputs to begin with and what has to hold."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from speechbrain_ext.corpora import csv as own_data
from speechbrain_ext.corpora.utterance_lists import read_list
from speechbrain_ext.dataio import audio_headers
from speechbrain_ext.dataio.audio import probe_audio
from speechbrain_ext.dataio.manifest import read_manifest
from speechbrain_ext.errors import parse_numbers
from speechbrain_ext.inference.bundle import check_bundle
from speechbrain_ext.inference.prediction_file import PredictionFile, format_predictions
from speechbrain_ext.inference.recordings import Prediction
from speechbrain_ext.results.tested_run import read_metrics, read_predictions
from speechbrain_ext.training.history import read_epochs
from speechbrain_ext.training.hparams_file import load_hparams
from speechbrain_ext.training.run_folder import read_run
from tests.soak import fuzz_texts

HEADER_READERS = (
    audio_headers.missing_bytes,
    audio_headers.holds_indexed_mp3,
    audio_headers.holds_several_ogg_streams,
    audio_headers.is_unfinished_wav,
)
EMOTIONS = ["ang", "sad"]


class Reader(NamedTuple):
    """A reader: its name, whole inputs, and a function (data, rng) that reads one and checks what came out."""

    name: str
    inputs: list[bytes]
    read: Callable[[bytes, random.Random], None]


def make_readers(folder: Path, bundle: Path, fold: Path) -> list[Reader]:
    """Make all readers; those that take a path read a file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bundle").mkdir()
    wav = folder / "a.wav"
    soundfile.write(wav, np.zeros(4000), 16000)

    def of_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, random.Random], None]:
        def write_and_read(data: bytes, _: random.Random) -> None:
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT)
            os.write(handle, data)
            os.ftruncate(handle, len(data))  # ext4 waits for the disk where O_TRUNC has emptied a file
            os.close(handle)
            read(folder / name)

        return write_and_read

    def whole(path: Path) -> bytes:
        return path.read_bytes()

    sounds = _sounds(folder)
    entry = {
        "wav": "a.wav",
        "duration": 0.25,
        "emo": "ang",
        "speaker": "s",
        "group": "g",
        "start": 0.1,
        "parts": ["test"],
    }
    rows = b"id,wav,emo,speaker,start,end\nu,a.wav,ang,s,0,0.1\nv,a.wav,sad,t,0.1,0.2\n"
    items = json.dumps([{"id": "u", "wav": "a.wav", "emo": {"ang": 1, "sad": 2}, "speaker": "s"}]).encode()
    answers = [Prediction("a.wav", 0.25, "ang", (0.75, 0.25), None, 1.0), Prediction("b.wav", error="broken")]
    formats = {end: format_predictions(answers, EMOTIONS, "m", end).encode() for end in (".csv", ".json", ".jsonl")}

    def read_answers(path: Path) -> None:
        PredictionFile(path, ["a.wav", "b.wav"], EMOTIONS, "m")

    return [
        Reader("audio headers", sounds, lambda data, rng: of_file("x", rng.choice(HEADER_READERS))(data, rng)),
        Reader("recordings", sounds, of_file("x.wav", lambda path: probe_audio(path, "x"))),
        Reader("manifest", [json.dumps({"u": entry, "v": entry}).encode()], of_file("m.json", read_manifest)),
        Reader("own data, CSV", [rows, rows.replace(b",", b";")], of_file("c.csv", own_data.read_rows)),
        Reader("own data, JSON", [items, b"\n".join([items[1:-1]] * 2)], of_file("c.jsonl", own_data.read_rows)),
        Reader("lists", [rows, b"u a.wav\nv b.wav\n"], of_file("list.txt", read_list)),
        Reader("JSON lists", [items, b'{"train": [{"id": "u"}]}'], of_file("list.json", read_list)),
        Reader("bundle.json", [whole(bundle / "bundle.json")],
               of_file("bundle/bundle.json", lambda path: check_bundle(path.parent))),
        Reader("YAML", [b"base: x.yaml\nseed: 1\nlr: [1, 2.0e-3]\na: !ref <seed>\n"], of_file("h.yaml", load_hparams)),
        Reader("metrics", [whole(fold / "test_metrics.json")], of_file("t.json", read_metrics)),
        Reader("decisions", [whole(fold / "predictions.csv")],
               of_file("p.csv", lambda path: read_predictions(path, {"emotions": EMOTIONS}))),
        Reader("epochs", [whole(fold / "epochs.json")], of_file("epochs.json", read_epochs)),
        Reader("run.json", [whole(fold / "run.json")], of_file("run.json", lambda path: read_run(path.parent))),
        *(Reader(f"answers{end}", [data], of_file(f"answers{end}", read_answers)) for end, data in formats.items()),
        Reader("names", [b"wavs/03a01Wa.wav", b"Ses01F_impro01_F000", b"03-01-06-01-02-01-12"], fuzz_texts.read_name),
        Reader("names of folds", [b"fold1/train_2.csv", b"test_cv3.jsonl"], fuzz_texts.read_fold_names),
        Reader("numbers", [b"1-3,5", b"7"], lambda data, _: parse_numbers("--folds", data.decode("latin-1"))),
        Reader("text as CSV", [b""], fuzz_texts.write_csv),
        Reader("text as Markdown", [b""], fuzz_texts.write_markdown),
        Reader("text as HTML", [b""], fuzz_texts.write_html),
        Reader("who is answered", [b""], fuzz_texts.ask_page),
    ]  # fmt: skip


def _sounds(folder: Path) -> list[bytes]:
    """Return the beginnings of short recordings in all containers."""
    found = []
    for name in ("WAV", "RF64", "AIFF", "AU", "CAF", "W64", "OGG", "FLAC", "MP3"):
        path = folder / f"sound.{name.lower()}"
        soundfile.write(path, 0.1 * np.sin(np.arange(1600)), 16000, format=name)
        found.append(path.read_bytes()[:4000])
    return [
        *found,
        b"\x1a\x45\xdf\xa3\x8f\x42\x86\x81\x01\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff\xa3\x85abcde",
    ]
