"""The demo corpus: its tree, its sound, its dirt, and what happens when it is asked for again."""

import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile as sf

import speechbrain_ext.corpora.synthetic as demo
from speechbrain_ext.corpora.espeak import Espeak, Manner
from speechbrain_ext.errors import InputError

SENTENCES = 2
LINE = re.compile(r"\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\w+)\t(\w{3})\t\[\d\.\d{4}, \d\.\d{4}, \d\.\d{4}\]")
CLASS = {"ang": "ang", "hap": "hap", "exc": "hap", "neu": "neu", "sad": "sad"}


class Clip(NamedTuple):
    """A line of an annotation file with its audio."""

    name: str
    emo: str
    duration_s: float
    wav: Path


def read_clips(root):
    """Read every labelled turn, by a parser that shares nothing with the script."""
    clips = []
    for path in sorted(root.glob("Session?/dialog/EmoEvaluation/[!.]*.txt")):
        for line in path.read_bytes().decode("latin-1").splitlines():
            match = LINE.fullmatch(line)
            if match:
                start, end, name, emo = match.groups()
                wav = path.parents[2] / "sentences" / "wav" / path.stem / f"{name}.wav"
                clips.append(Clip(name, emo, float(end) - float(start), wav))
    return clips


def speaker_of(name):
    """Return session and gender, 'Ses01' and 'F' in 'Ses01M_impro21_F000'."""
    return name[:5] + name.rpartition("_")[2][0]


def tree(root):
    """Return every file's bytes by its relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def run_script(*args):
    """Run the script as a user does, from a folder that is not the checkout's."""
    script = Path(__file__).parents[2] / "recipes" / "IEMOCAP" / "make_demo_corpus.py"
    command = [sys.executable, script, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(args[0]).parent, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make one corpus for all tests, which only read it: (folder, what the function returned)."""
    root = tmp_path_factory.mktemp("demo") / "corpus"
    Espeak().say("Hello.", "en+f2", Manner(0.0, 1.0, 1.0, 0.0), seed=1)  # its state must not reach the corpus
    return root, demo.make_demo_corpus(root, sentences=SENTENCES)


def test_make_demo_corpus_same_bytes_in_another_process(made, tmp_path):
    done = run_script(tmp_path / "script", "--sentences", SENTENCES)
    assert done.returncode == 0, done.stderr
    assert "synthetic" in done.stdout
    assert "not IEMOCAP" in done.stdout
    assert tree(tmp_path / "script") == tree(made[0])


def test_make_demo_corpus_holds_four_classes_of_ten_speakers(made):
    root, (summary, was_made) = made
    clips = read_clips(root)
    counts = Counter((speaker_of(clip.name), CLASS[clip.emo]) for clip in clips if clip.emo in CLASS)
    speakers = [f"Ses0{session}{gender}" for session in range(1, 6) for gender in "FM"]
    assert counts == {(s, emo): SENTENCES for s in speakers for emo in ("ang", "hap", "neu", "sad")}

    minutes = sum(clip.duration_s for clip in clips if clip.emo in CLASS) / 60
    assert was_made
    assert summary["counts"] == Counter(clip.emo for clip in clips)
    assert summary["minutes"] == pytest.approx(minutes, abs=0.06)
    assert {"hap", "exc"} <= set(summary["counts"])


def test_make_demo_corpus_names_turns_as_iemocap_does_but_none_as_a_real_one(made):
    voices, kinds = defaultdict(set), set()
    for clip in read_clips(made[0]):
        match = re.fullmatch(r"(Ses0[1-5][FM]_(impro|script)(\d\d)(_\d)?)_([FM])\d{3}", clip.name)
        dialog, kind, number, _, voice = match.groups()
        assert int(number) > 8  # IEMOCAP has impro01 to impro08 and script01 to script03
        assert clip.wav.parent.name == dialog
        voices[dialog].add(voice)
        kinds.add((dialog[:5], kind))
    assert all(both == {"F", "M"} for both in voices.values())
    assert len(kinds) == 10


def test_make_demo_corpus_wavs_are_16_khz_mono_and_as_long_as_annotated(made):
    durations = []
    for clip in read_clips(made[0]):
        info = sf.info(clip.wav)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (16000, 1, "WAV", "PCM_16")
        assert info.duration == pytest.approx(clip.duration_s, abs=2e-4)
        durations.append(info.duration)
    assert 0.5 < min(durations) < 1
    assert 6.25 < max(durations) < 12


def test_make_demo_corpus_tells_emotion_by_effort_speed_and_pitch_for_every_speaker(made):
    level_db, brightness, duration_s, f0_hz = (defaultdict(list) for _ in range(4))
    for clip in read_clips(made[0]):
        if clip.emo in CLASS:
            wav = sf.read(clip.wav)[0]
            key = speaker_of(clip.name), CLASS[clip.emo]
            level_db[key].append(10 * np.log10(np.mean(wav**2)))
            brightness[key].append(np.mean(np.diff(wav) ** 2) / np.mean(wav**2))
            duration_s[key].append(clip.duration_s)
            f0_hz[key].append(median_f0_hz(wav))
            assert np.abs(wav).max() < 0.999  # not clipped
    for speaker in {speaker for speaker, _ in level_db}:
        assert np.mean(level_db[speaker, "ang"]) > np.mean(level_db[speaker, "sad"]) + 6
        assert np.mean(brightness[speaker, "ang"]) > 1.5 * np.mean(brightness[speaker, "sad"])
        assert sum(duration_s[speaker, "sad"]) > sum(duration_s[speaker, "ang"])  # of the same sentences
        assert np.mean(f0_hz[speaker, "hap"]) > 1.1 * np.mean(f0_hz[speaker, "sad"])


def median_f0_hz(wav, frame=640):
    """Return the median over the louder half of the frames of the autocorrelation's peak, 60 to 400 Hz."""
    frames = wav[: len(wav) // frame * frame].reshape(-1, frame)
    power = np.mean(frames**2, axis=1)
    spectrum = np.fft.rfft(frames[power > np.median(power)], 2 * frame)
    autocorrelation = np.fft.irfft(np.abs(spectrum) ** 2)[:, :frame]
    return 16000 / np.median(np.argmax(autocorrelation[:, 40:267], axis=1) + 40)


def test_plan_session_gives_a_speaker_the_same_sentences_in_every_class():
    for session in demo.VOICES:
        said = defaultdict(Counter)
        for turn in demo.plan_session(session, 30):  # more than there are texts
            if turn.emo in CLASS:
                said[speaker_of(turn.name), CLASS[turn.emo]][turn.text] += 1
        assert len(said) == 8
        for gender in "FM":
            texts = [said[f"Ses0{session}{gender}", emo] for emo in ("ang", "hap", "neu", "sad")]
            assert texts[0] == texts[1] == texts[2] == texts[3]


def test_make_demo_corpus_holds_the_dirt_of_a_copied_corpus(made):
    root, (summary, _) = made
    assert {"fru", "xxx", "sur", "fea"} <= set(summary["counts"])
    assert (root / "Session1" / "dialog" / "EmoEvaluation" / ".DS_Store").is_file()
    for folder in ("Attribute", "Categorical", "Self-evaluation"):
        assert list(root.glob(f"Session1/dialog/EmoEvaluation/{folder}/*.txt"))
    junk = list(root.glob("Session?/**/._*"))
    assert {path.suffix for path in junk} == {".txt", ".wav"}
    assert not any(is_utf8(path) for path in junk)

    annotations = sorted(root.glob("Session?/dialog/EmoEvaluation/[!.]*.txt"))
    assert [path.stem for path in annotations if b"\r\n" in path.read_bytes()] == ["Ses02F_impro21"]
    assert [path.stem for path in annotations if not is_utf8(path)] == ["Ses03F_impro21"]
    named = {clip.wav for clip in read_clips(root)}
    wavs = set(root.glob("Session?/sentences/wav/*/[!.]*.wav"))
    assert named < wavs
    assert [path.name for path in wavs - named] == ["Ses04F_impro21_FXX0.wav"]


def is_utf8(path):
    """Tell whether a file's bytes are UTF-8."""
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def test_make_demo_corpus_says_in_the_folder_what_it_is(made):
    text = (made[0] / "README.txt").read_text(encoding="utf-8")
    assert "synthetic speech by espeak-ng" in text
    assert "not IEMOCAP" in text


def test_make_demo_corpus_second_call_writes_nothing(made):
    root, (summary, _) = made
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert demo.make_demo_corpus(root, sentences=SENTENCES) == (summary, False)
    done = run_script(root, "--sentences", SENTENCES)
    assert done.returncode == 0, done.stderr
    assert "already complete" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def lose_a_wav(root):
    next(root.glob("Session5/sentences/wav/*/[!.]*.wav")).unlink()


def make_older_version(root):
    marker = root / demo.MARKER
    marker.write_text(marker.read_text().replace(f'"version": {demo.VERSION}', '"version": 0'))
    (root / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro20.txt").touch()


@pytest.mark.parametrize("damage", [lose_a_wav, make_older_version])
def test_make_demo_corpus_goes_to_remake_its_own_folder(made, tmp_path, damage, monkeypatch):
    def stop(method):
        raise InterruptedError(method)

    root = shutil.copytree(made[0], tmp_path / "corpus")
    damage(root)
    monkeypatch.setattr(demo.multiprocessing, "get_context", stop)
    with pytest.raises(InterruptedError, match="spawn"):
        demo.make_demo_corpus(root, sentences=SENTENCES)
    assert not list(root.glob("Session*"))  # nothing old is left
    assert not demo.read_marker(root)["complete"]


def test_make_demo_corpus_remakes_what_was_interrupted(made, tmp_path):
    root = shutil.copytree(made[0], tmp_path / "corpus")
    marker = root / demo.MARKER
    marker.write_text(marker.read_text().replace('"complete": true', '"complete": false'))
    (root / "Session2" / "sentences" / "wav" / "Ses02F_impro21" / "Ses02F_impro21_F999.wav").touch()
    shutil.rmtree(root / "Session4")
    assert demo.make_demo_corpus(root, sentences=SENTENCES)[1]
    assert tree(root) == tree(made[0])


def test_make_demo_corpus_other_setting_leaves_no_turn_of_the_old_one(made, tmp_path):
    root = shutil.copytree(made[0], tmp_path / "corpus")
    summary, was_made = demo.make_demo_corpus(root, sentences=1)
    assert was_made
    n_wavs = len(list(root.glob("Session?/sentences/wav/*/[!.]*.wav")))
    assert n_wavs == sum(summary["counts"].values()) + 1  # and the one that no line names
    assert n_wavs == 10 * 4 * 1 + 5 * 4 + 1


@pytest.mark.parametrize(("name", "content"), [("thesis.txt", "mine"), (demo.MARKER, "[1]"), (demo.MARKER, "{")])
def test_make_demo_corpus_refuses_a_folder_that_is_not_its_own(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="holds something else.*: name another folder") as error:
        demo.make_demo_corpus(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert tree(tmp_path) == {name: content.encode()}

    done = run_script(tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"make_demo_corpus.py: {error.value}\n"


def test_make_demo_corpus_refuses_a_file(tmp_path):
    (tmp_path / "corpus").write_text("mine")
    with pytest.raises(InputError, match="must be a new or empty folder"):
        demo.make_demo_corpus(tmp_path / "corpus")


@pytest.mark.parametrize("sentences", [0, -1, 501])
def test_make_demo_corpus_refuses_sentences_out_of_range(tmp_path, sentences):
    with pytest.raises(InputError, match=f"sentences must be 1 to 500, got {sentences}"):
        demo.make_demo_corpus(tmp_path / "corpus", sentences=sentences)
    assert not (tmp_path / "corpus").exists()


def test_make_demo_corpus_without_espeak_names_the_cure(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError, match="espeakng-loader.*pip install espeakng-loader"):
        demo.make_demo_corpus(tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
