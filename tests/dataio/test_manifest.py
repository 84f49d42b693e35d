"""The manifest: what is written for a corpus, what is refused, and what its fingerprint stands for."""

import hashlib
import json
import logging
import re
import types

import numpy as np
import pytest
import soundfile as sf

from speechbrain_ext.dataio import manifest as manifest_module
from speechbrain_ext.dataio.manifest import (
    build_manifest,
    check_lengths,
    describe_changes,
    fingerprint,
    read_manifest,
    samples_fingerprint,
    segment_of,
    write_manifest,
)
from speechbrain_ext.errors import InputError

ENTRY = {"wav": "{data_root}/a.wav", "duration": 1.5, "emo": "sad", "speaker": "s1", "group": "g1"}


def record(path, duration_s=0.1, sample_rate_hz=16000, n_channels=1):
    """Write a silent recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.zeros((round(duration_s * sample_rate_hz), n_channels)), sample_rate_hz)


def row(utt_id, wav=None, emo="sad", speaker="s1", group="g1"):
    """Describe one utterance as a corpus does."""
    return {"id": utt_id, "wav": wav or f"{utt_id}.wav", "emo": emo, "speaker": speaker, "group": group}


def build(rows, data_root, **kwargs):
    """Build a manifest without a progress bar."""
    return build_manifest(rows, data_root, progress=False, **kwargs)


def test_build_manifest_is_sorted_and_complete(tmp_path):
    record(tmp_path / "b.wav", duration_s=0.25)
    record(tmp_path / "deep" / "a.wav", duration_s=0.5, sample_rate_hz=8000)
    rows = [row("b", emo="ang", speaker="s2", group="g2"), row("a", "deep/a.wav")]
    manifest = build(iter(rows), tmp_path)
    assert list(manifest) == ["a", "b"]
    digest = hashlib.sha256(sf.read(tmp_path / "b.wav", dtype="float32")[0]).hexdigest()[:32]
    assert manifest["b"].pop("samples_hash") == f"4000 samples at 16000 Hz, SHA-256 {digest}"
    assert manifest["a"].pop("samples_hash").startswith("4000 samples at 8000 Hz, SHA-256 ")
    assert manifest == {
        "a": {"wav": "{data_root}/deep/a.wav", "duration": 0.5, "emo": "sad", "speaker": "s1", "group": "g1"},
        "b": {"wav": "{data_root}/b.wav", "duration": 0.25, "emo": "ang", "speaker": "s2", "group": "g2"},
    }


def test_build_manifest_paths_are_relative_below_the_root_and_absolute_elsewhere(tmp_path, monkeypatch):
    root = tmp_path / "corpus"
    for path in (root / "a.wav", root / "deep" / "b.wav", tmp_path / "c.wav", tmp_path / "corpus2" / "d.wav"):
        record(path)
    rows = [
        row("a", str(root / "a.wav")),
        row("b", "deep/../deep/b.wav"),
        row("c", "../c.wav"),
        row("d", str(tmp_path / "corpus2" / "d.wav")),
    ]
    wavs = [entry["wav"] for entry in build(rows, root).values()]
    assert wavs == ["{data_root}/a.wav", "{data_root}/deep/b.wav", f"{tmp_path}/c.wav", f"{tmp_path}/corpus2/d.wav"]

    monkeypatch.chdir(tmp_path)
    assert build(rows, "corpus") == build(rows, root)


def test_build_manifest_refuses_an_id_that_stands_twice(tmp_path):
    with pytest.raises(InputError, match=r"^b: the id stands twice \(wav one\.wav and wav two\.wav\)"):
        build([row("b", "one.wav"), row("c"), row("b", "two.wav")], tmp_path)


def test_build_manifest_refuses_a_corpus_without_utterances(tmp_path):
    with pytest.raises(InputError, match=f"{re.escape(str(tmp_path))} has no utterance: check"):
        build([], tmp_path)


def test_build_manifest_names_all_bad_recordings_at_once(tmp_path):
    record(tmp_path / "good.wav")
    record(tmp_path / "short.wav", duration_s=0.01)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(InputError, match="^3 of 4 recordings cannot be used:\n") as error:
        build([row("missing"), row("good"), row("short"), row("empty")], tmp_path)
    first, *others = str(error.value).splitlines()[1:]
    assert first.startswith("empty: ") and "0 bytes" in first
    assert others[0].startswith("missing: ") and "missing.wav" in others[0]
    assert others[1].startswith("short: ") and "0.0100 s" in others[1]
    assert len(others) == 2


@pytest.mark.parametrize("name", ["take 1", "Take 1.WAV", "take 1.flac"])
def test_build_manifest_asks_for_the_recording_of_nearly_that_name(tmp_path, name):
    record(tmp_path / "deep" / "take 1.wav")
    with pytest.raises(InputError) as error:
        build([row("a", f"deep/{name}")], tmp_path)
    assert str(error.value).endswith(f"Check the path. Did you mean {tmp_path}/deep/take 1.wav?")
    with pytest.raises(InputError) as error:
        build([row("a", "deep/take 2.wav")], tmp_path)
    assert str(error.value).endswith("Check the path.")


def test_build_manifest_names_ten_bad_recordings_and_counts_the_others(tmp_path):
    with pytest.raises(InputError, match="^12 of 12 recordings") as error:
        build([row(f"utt{i:02}") for i in range(12)], tmp_path)
    lines = str(error.value).splitlines()
    assert [line[:5] for line in lines[1:-1]] == [f"utt{i:02}" for i in range(10)]
    assert lines[-1] == "... and 2 more."


def test_build_manifest_says_once_what_is_converted(tmp_path, caplog):
    record(tmp_path / "a.wav")
    record(tmp_path / "b.wav", sample_rate_hz=8000)
    record(tmp_path / "c.wav", n_channels=2)
    with caplog.at_level(logging.INFO):
        build([row("c"), row("b"), row("a")], tmp_path)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            "2 of 3 recordings are not 16000 Hz mono and are converted when read (first: b, 8000 Hz, 1 channels).",
        )
    ]


def test_build_manifest_keeps_published_folds(tmp_path):
    for name in "ab":
        record(tmp_path / f"{name}.wav")
    rows = [{**row(name), "parts": (part, "")} for name, part in (("a", "train"), ("b", "test"))]
    assert {name: entry["parts"] for name, entry in build(rows, tmp_path).items()} == {
        "a": ["train", ""], "b": ["test", ""],
    }  # fmt: skip


def test_build_manifest_is_silent_when_nothing_is_converted(tmp_path, caplog, capsys):
    record(tmp_path / "a.wav", sample_rate_hz=8000)
    with caplog.at_level(logging.INFO):
        build([row("a")], tmp_path, sample_rate_hz=8000)
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


def test_build_manifest_shows_progress_on_stderr(tmp_path, capsys):
    record(tmp_path / "a.wav")
    build_manifest([row("a")], tmp_path)
    assert "recordings: 100%" in capsys.readouterr().err


def test_build_manifest_result_is_independent_of_threads(tmp_path, monkeypatch):
    rows = [row(f"utt{i}") for i in range(20)]
    for i in range(20):
        record(tmp_path / f"utt{i}.wav", duration_s=0.1 + 0.01 * i)
    by_several = build(rows, tmp_path)
    monkeypatch.setattr(manifest_module, "READERS", 1)
    assert build(rows, tmp_path) == by_several


def test_write_manifest_read_manifest_round_trip(tmp_path):
    manifest = {"a": ENTRY, "é": {**ENTRY, "speaker": "Zoë"}}
    write_manifest(manifest, tmp_path / "new" / "manifest.json")
    assert read_manifest(tmp_path / "new" / "manifest.json") == manifest
    assert json.loads((tmp_path / "new" / "manifest.json").read_text(encoding="utf-8")) == manifest


def test_read_manifest_puts_the_data_root_in_and_sorts(tmp_path):
    manifest = {"b": {**ENTRY, "wav": "/elsewhere/b.wav"}, "a": ENTRY}
    (tmp_path / "m.json").write_text(json.dumps(manifest))
    found = read_manifest(tmp_path / "m.json", tmp_path / "corpus")
    assert list(found) == ["a", "b"]
    assert found["a"] == {**ENTRY, "wav": f"{tmp_path}/corpus/a.wav"}
    assert found["b"]["wav"] == "/elsewhere/b.wav"


def test_read_manifest_refuses_an_id_or_a_field_that_stands_twice(tmp_path):
    path, entry = tmp_path / "m.json", json.dumps(ENTRY)
    path.write_text(f'{{"a": {entry}, "b": {entry}, "a": {entry}}}')
    with pytest.raises(InputError, match=r"m\.json is no JSON: 'a' stands twice"):
        read_manifest(path)
    path.write_text(f'{{"a": {entry[:-1]}, "emo": "ang"}}}}')
    with pytest.raises(InputError, match=r"m\.json is no JSON: 'emo' stands twice"):
        read_manifest(path)


def test_read_manifest_refuses_an_utterance_without_a_field(tmp_path):
    entry = {key: value for key, value in ENTRY.items() if key not in ("duration", "group")}
    (tmp_path / "m.json").write_text(json.dumps({"a": ENTRY, "b": entry}))
    with pytest.raises(InputError, match=r"m\.json: utterance b lacks the fields \['duration', 'group'\]"):
        read_manifest(tmp_path / "m.json")


def test_read_manifest_refuses_broken_and_missing_files(tmp_path):
    (tmp_path / "m.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"m\.json is no JSON: .*line 1"):
        read_manifest(tmp_path / "m.json")
    with pytest.raises(InputError, match=r"nowhere\.json cannot be read: No such file"):
        read_manifest(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "change",
    [
        {"wav": "{data_root}/b.wav"},
        {"duration": 1.25},
        {"emo": "ang"},
        {"speaker": "s2"},
        {"group": "g2"},
        {"parts": [""]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_fingerprint_changes_with_every_field(change):
    assert fingerprint({"a": ENTRY}) != fingerprint({"a": {**ENTRY, **change}})


def test_fingerprint_changes_with_the_ids():
    prints = {fingerprint(manifest) for manifest in ({}, {"a": ENTRY}, {"b": ENTRY}, {"a": ENTRY, "b": ENTRY})}
    assert len(prints) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", found) for found in prints)


def test_fingerprint_is_independent_of_order():
    backwards = dict(reversed(ENTRY.items()))
    assert fingerprint({"a": ENTRY, "b": ENTRY}) == fingerprint({"b": backwards, "a": backwards})


def test_fingerprint_is_independent_of_other_fields():
    assert fingerprint({"a": {**ENTRY, "text": "Hello."}}) == fingerprint({"a": ENTRY})


def test_fingerprint_is_the_same_wherever_the_corpus_lies(tmp_path):
    prints = set()
    for name in ("here", "there"):
        record(tmp_path / name / "a.wav")
        prints.add(fingerprint(build([row("a")], tmp_path / name)))
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[]", r"holds \[\], not an object"), (b'{"a": 3}', "utterance a is no object"), (b"\xff\xfe", "is no JSON")],
)
def test_read_manifest_refuses_what_is_no_manifest(tmp_path, content, message):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / "manifest.json")


def test_build_manifest_keeps_links_below_the_root_relative(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    sf.write(tmp_path / "elsewhere" / "a.wav", np.zeros(1600), 16000)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "Session1").symlink_to(tmp_path / "elsewhere")
    row = {"id": "a", "wav": "Session1/a.wav", "emo": "sad", "speaker": "s", "group": "g"}
    manifest = build_manifest([row], tmp_path / "corpus", progress=False)
    assert manifest["a"]["wav"] == "{data_root}/Session1/a.wav"


@pytest.mark.parametrize(("cuts_s", "refused"), [((6.0, None), True), ((6.0, 31.0), True), ((30.0, 6.0), False)])
def test_recordings_that_an_encoder_does_not_take_are_refused_unless_cut(cuts_s, refused):
    manifest = {"a": {"duration": 40.0}, "b": {"duration": 30.0}}
    takes_all, takes_30_s = (
        types.SimpleNamespace(min_samples=400),
        types.SimpleNamespace(min_samples=1, max_samples=480000),
    )
    check_lengths(manifest, takes_all, 16000, None, None)
    check_lengths(manifest, object(), 16000, None, None)  # an encoder of one's own
    if not refused:
        check_lengths(manifest, takes_30_s, 16000, *cuts_s)
        return
    with pytest.raises(InputError) as error:
        check_lengths(manifest, takes_30_s, 16000, *cuts_s)
    assert str(error.value) == (
        "1 of 2 recordings are longer than the 30 s that the encoder takes. Set max_train_s and max_eval_s to 30 or "
        "less, or leave them out of the corpus:\na: 40 s"
    )


def test_padding_to_more_than_an_encoder_takes_is_refused():
    encoder = types.SimpleNamespace(min_samples=1600, max_samples=480000)
    manifest = {"a": {"duration": 0.05}}  # short, but for its padding
    check_lengths(manifest, encoder, 16000, fixed_length_s=30.0)
    with pytest.raises(InputError, match="fixed_length_s must be at most the 30 s that the encoder takes, got 31.0"):
        check_lengths(manifest, encoder, 16000, fixed_length_s=31.0)


def test_short_recordings_are_counted_and_the_first_ones_named():
    manifest = {f"u{i:02}": {"duration": i / 100} for i in range(1, 16)}
    check_lengths(manifest, types.SimpleNamespace(min_samples=160), 16000)
    with pytest.raises(InputError) as error:
        check_lengths(manifest, types.SimpleNamespace(min_samples=1920), 16000)
    lines = str(error.value).splitlines()
    assert lines[0] == (
        "11 of 15 recordings are shorter than the 0.12 s that the encoder needs. Leave them out of the corpus:"
    )
    assert lines[1:] == [f"u{i:02}: 0.{i:02} s".replace("0.10 s", "0.1 s") for i in range(1, 11)] + ["... and 1 more."]


def test_other_samples_of_an_utterance_are_a_change():
    before, now = ({"a": {**ENTRY, "samples_hash": text}} for text in ("1 samples, SHA-256 0", "1 samples, SHA-256 1"))
    assert describe_changes(before, now) == ("1 utterance has other samples (a: a.wav)")
    assert fingerprint(before) == fingerprint(now)  # runs of earlier versions are resumed by it
    assert samples_fingerprint(before) != samples_fingerprint(now)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        ({"a": ENTRY, "b": ENTRY}, ""),
        ({"b": ENTRY}, "1 utterance is gone (a)"),
        ({**dict.fromkeys("abcdefg", ENTRY)}, "5 utterances are new (c, d, e, ...)"),
        ({"a": {**ENTRY, "emo": "ang"}, "b": ENTRY}, "1 utterance has another emo (a: sad, now ang)"),
        ({"a": {**ENTRY, "samples_hash": "x"}, "b": ENTRY}, ""),  # an earlier version's manifest had none
        ({"a": {**ENTRY, "parts": ["test"]}, "b": ENTRY}, "1 utterance has another parts (a: None, now ['test'])"),
        (
            {"a": {**ENTRY, "duration": 2.0}, "b": {**ENTRY, "duration": 1.0, "speaker": "s2"}, "c": ENTRY},
            "1 utterance is new (c), 2 have another duration (a: 1.5, now 2.0, b: 1.5, now 1.0), "
            "1 has another speaker (b: s1, now s2)",
        ),
    ],
)
def test_changes_of_a_corpus_are_counted_with_examples(now, text):
    assert describe_changes({"a": ENTRY, "b": ENTRY}, now) == text


def test_build_manifest_describes_segments_and_reads_their_recording_once(tmp_path, monkeypatch):
    record(tmp_path / "long.wav", duration_s=2.0)
    measured = []
    measure = manifest_module.measure_recording
    monkeypatch.setattr(
        manifest_module, "measure_recording", lambda rows, root: measured.append(len(rows)) or measure(rows, root)
    )
    rows = [{**row("a", "long.wav"), "start": 0.25, "end": 1.0}, {**row("b", "long.wav"), "start": 1.5}]
    rows += [{**row("c", "long.wav"), "end": 0.5}]
    manifest = build(rows, tmp_path)
    assert [(entry["start"], entry["duration"]) for entry in manifest.values()] == [
        (0.25, 0.75),
        (1.5, 0.5),
        (0.0, 0.5),
    ]
    assert [segment_of(entry) for entry in manifest.values()] == [(0.25, 0.75), (1.5, 0.5), (0.0, 0.5)]
    assert not any({"end", "place", "id"} & set(entry) for entry in manifest.values())
    assert measured == [3]


def test_build_manifest_names_all_segments_that_lie_outside(tmp_path):
    record(tmp_path / "long.wav", duration_s=2.0)
    rows = [{**row("a", "long.wav"), "start": 0.25, "end": 2.5, "place": "c.csv, row 2"}, row("b", "long.wav")]
    rows += [{**row("c", "long.wav"), "start": 3.0}]
    with pytest.raises(InputError) as error:
        build(rows, tmp_path)
    assert str(error.value).splitlines() == [
        "2 of 3 segments cannot be used:",
        "c.csv, row 2, a: the segment ends at 2.5 s, and the recording is 2.00 s long. Correct start and end.",
        "c: the segment begins at 3 s, and the recording is 2.00 s long. Correct start and end.",
    ]


def test_build_manifest_keeps_labels_folds_and_attributes(tmp_path):
    record(tmp_path / "a.wav")
    others = {"labels": {"sad": 0.75, "ang": 0.25}, "parts": ["train", "test"], "gender": "f", "text": "So what?"}
    manifest = build([{**row("a"), **others}], tmp_path)
    assert {key: manifest["a"][key] for key in others} == others
    write_manifest(manifest, tmp_path / "m.json")
    assert read_manifest(tmp_path / "m.json") == manifest


def test_fingerprint_counts_segments_labels_and_folds_but_no_attribute():
    plain = fingerprint({"a": ENTRY})
    others = [{"start": 0.5}, {"labels": {"sad": 1.0}}, {"labels": {"sad": 0.5, "ang": 0.5}}, {"parts": ["test"]}]
    assert len({plain, *(fingerprint({"a": {**ENTRY, **other}}) for other in others)}) == 5
    assert fingerprint({"a": {**ENTRY, "gender": "f"}}) == plain
    said = "1 has another start (a: None, now 0.5)"
    assert describe_changes({"a": ENTRY}, {"a": {**ENTRY, "start": 0.5}}) == said.replace("1 has", "1 utterance has")
