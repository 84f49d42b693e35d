"""Recordings, tables and YAML files that cannot be used."""

import os
import shutil

import numpy as np
import soundfile

from tests.soak.workshop import Workshop

HEADER = b"wav,emo,speaker\n"
WAV = b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0\x80>\0\0\0}\0\0\x02\0\x10\0data\xff\xff\xff\x7f"
# What the files hold that the commands below name. {wav} is a recording that can be read.
FILES = {
    "empty.csv": b"",
    "header.csv": HEADER,
    "no_speaker.csv": b"wav,emo\n{wav},ang\n",
    "no_file.csv": HEADER + b"absent.wav,ang,s1\n{wav2},sad,s2\n",
    "no_label.csv": HEADER + b"{wav},,s1\n",
    "one_field.csv": HEADER + b"{wav}\n",
    "open_quote.csv": HEADER + b'"{wav},ang,s1\n',
    "latin.csv": HEADER + b"{wav},\xe9,s1\n",
    "zeros.csv": HEADER + b"\0\0\0\0\n",
    "twice.csv": HEADER + b"{wav},ang,s1\n{wav},sad,s1\n",
    "one_label.csv": HEADER + b"{wav},ang,s1\n{wav2},ang,s2\n",
    "one_speaker.csv": HEADER + b"{wav},ang,s1\n{wav2},sad,s1\n",
    "times.csv": b"wav,emo,speaker,start,end\n{wav},ang,s1,5,9\n{wav2},sad,s2,0,0.2\n",
    "backwards.csv": b"wav,emo,speaker,start,end\n{wav},ang,s1,0.3,0.1\n",
    "not_finite.csv": b"wav,emo,speaker,start,end\n{wav},ang,s1,nan,inf\n",
    "shares.csv": b"wav,emo:ang,emo:sad,speaker\n{wav},-1,2,s1\n",
    "deep.json": b"[" * 10_000,
    "number.json": b"7\n",
    "zip.csv": b"PK\x03\x04" + bytes(40),
    "nothing.wav": b"",
    "text.wav": b"this is no sound\n",
    "cut.wav": WAV + bytes(60),
    "header.wav": b"RIFF",
    "page.html.wav": b"<!DOCTYPE html><html><body>404</body></html>",
    "bad_wav.csv": HEADER + b"text.wav,ang,s1\n{wav2},sad,s2\n",
    "empty.yaml": b"",
    "list.yaml": b"- 1\n- 2\n",
    "tab.yaml": b"seed:\t[1\n",
    "deep.yaml": b"a: " + b"[" * 3000,
    "no_base.yaml": b"base: absent.yaml\n",
    "round.yaml": b"base: round.yaml\n",
    "unknown_key.yaml": b"base: {yaml}\nlearning_rate: 0.1\n",
    "code.yaml": b"base: {yaml}\nseed: !apply:os.getpid\n",
    "audit.csv": b"id,speaker,emo,wav\na,s1,ang,a.wav\na,s1,ang,a.wav\n",
    "answers.csv": b"a,b\n1,2\n",
    "notes.txt": b"notes\n",
}


def make_files(shop: Workshop) -> dict[str, str]:
    """Write the bad files; return what stands for the commands' words in braces."""
    bad = shop.folder / "bad"
    shutil.rmtree(bad, ignore_errors=True)
    (bad / "empty folder").mkdir(parents=True)
    wavs = sorted(shop.wavs.glob("*.wav"))
    places = {
        "bad": bad, "wavs": shop.wavs, "wav": wavs[0], "wav2": wavs[1], "corpus": shop.corpus,
        "bundle": shop.bundle, "fold": shop.folder / "golden" / "fold", "loso": shop.folder / "golden" / "loso",
        "out": shop.folder / "bad out", "yaml": shop.yaml,
    }  # fmt: skip
    for name, data in FILES.items():
        for key in ("wav", "wav2", "yaml"):
            data = data.replace(b"{%s}" % key.encode(), str(places[key]).encode())
        (bad / name).write_bytes(data)
    os.mkfifo(bad / "pipe.wav")
    soundfile.write(bad / "short.wav", np.zeros(20), 16000)
    soundfile.write(bad / "nan.wav", np.full(16000, np.nan, dtype=np.float32), 16000, subtype="FLOAT")
    soundfile.write(bad / "quick.flac", np.zeros((4000, 8)), 655_350)
    return {key: str(place) for key, place in places.items()}
