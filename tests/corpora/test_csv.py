"""CSV corpora: what is read, and what is refused with which words."""

import re

import pytest
import soundfile as sf

from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.corpora.csv import read_rows
from speechbrain_ext.dataio.rows import RowErrors
from speechbrain_ext.errors import InputError
from tests.corpora.csv_files import refusal, write

HEADER = "id,wav,emo,speaker,group"
TWO = [("a", "a.wav", "sad", "s1", "g1"), ("b", "b.wav", "ang", "s2", "g2")]


def rows_of(path):
    """Read a CSV, and return its rows as tuples, without their places."""
    return [tuple(row[column] for column in ("id", "wav", "emo", "speaker", "group")) for row in read_rows(path)]


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\na,a.wav,sad,s1,g1\nb,b.wav,ang,s2,g2",
        f"{HEADER}\r\na,a.wav,sad,s1,g1\r\nb,b.wav,ang,s2,g2\r\n\r\n,,,,\r\n  \r\n",
        f"\n{HEADER}\ra,a.wav,sad,s1,g1\rb,b.wav,ang,s2,g2\r",
        "id, wav, emo, speaker, group\na, a.wav, sad, s1, g1 \nb, b.wav,\tang, s2, g2\n",
        "ID,Wav, EMO ,Speaker,GROUP\na,a.wav,sad,s1,g1\nb,b.wav,ang,s2,g2\n",
        f"{HEADER}\na,a.wav,sad,s1,g1\nb,b.wav,ang,s2,g2\n".replace(",", ";"),
        f"{HEADER}\na,a.wav,sad,s1,g1\nb,b.wav,ang,s2,g2\n".replace(",", "\t"),
        f"{HEADER}\na,a.wav,sad,s1,g1\nb,b.wav,ang,s2,g2\n".replace(",", "|"),
        "sep=;\r\n" + f"{HEADER}\r\na,a.wav,sad,s1,g1\r\nb,b.wav,ang,s2,g2\r\n".replace(",", ";"),
        '"id","wav","emo","speaker","group"\n"a","a.wav","sad","s1","g1"\n"b", "b.wav", "ang", "s2", "g2"\n',
        'note,group,speaker,emo,wav,id,\n"x, ""y""\nz",g1,s1,sad,a.wav,a,\n,g2,s2,ang,b.wav,b,\n',
    ],
    ids=["plain", "crlf", "cr", "spaces", "capitals", "semicolons", "tabs", "bars", "sep", "quotes", "columns"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_is_read_as_it_is_meant(tmp_path, text, encoding):
    assert rows_of(write(tmp_path, text, encoding)) == TWO


def test_csv_with_commas_in_quotes_semicolons_and_letters_of_others(tmp_path):
    text = f'{HEADER}\na,"deep/a, 1;2.wav",fröhlich,Zoë,g 1\nb,b.wav,very sad,s2,g2\n'
    assert rows_of(write(tmp_path, text)) == [
        ("a", "deep/a, 1;2.wav", "fröhlich", "Zoë", "g 1"),
        ("b", "b.wav", "very sad", "s2", "g2"),
    ]


def test_rows_know_their_place_as_a_spreadsheet_counts(tmp_path):
    path = write(tmp_path, f'note,{HEADER}\n"two\nlines",a,a.wav,sad,s1,g1\n\n,b,b.wav,ang,s2,g2\n')
    assert [row["place"] for row in read_rows(path)] == ["c.csv, row 2", "c.csv, row 4"]


def test_unquoted_comma_is_named_with_its_row_and_fields(tmp_path):
    text = f"{HEADER}\na,a.wav,sad,s1,g1\nb,my, b.wav,ang,s2,g2\nc,c.wav,sad,s3\nd,d.wav,ang,s4,g4\n"
    head, comma, short = refusal(write(tmp_path, text)).splitlines()
    assert head.endswith("c.csv: 2 of 4 rows cannot be used:")
    found = (
        "c.csv, row 3: 6 fields in place of 5 (id, wav, emo, speaker, group): ['b', 'my', 'b.wav', 'ang', 's2', 'g2']"
    )
    assert comma == found + '. Put a field that holds a comma in quotes: "...".'
    assert short.startswith("c.csv, row 4: 4 fields in place of 5 (") and short.endswith("'s3']. Add the rest.")
    assert "holds a semicolon" in refusal(write(tmp_path, text.replace(",", ";")))


def test_all_faulty_rows_are_counted_and_ten_shown(tmp_path):
    lines = refusal(write(tmp_path, f"{HEADER}\n" + "a,b\n" * 12)).splitlines()
    assert lines[0].endswith("c.csv: 12 of 12 rows cannot be used:")
    assert len(lines) == 12 and lines[-1] == "... and 2 more."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; needed are wav, emo, speaker"),
        ("\n ,,\n\n", "empty; needed are wav"),
        (f"{HEADER}\n\n,,,,\n", "has a header, but no row"),
        ("id,wav,emo\na,b,c\n", r"columns \['speaker'\] are missing; needed are wav, emo, speaker"),
        ("id,wav,emotion,Speakers,group\n", "'emotion' meant for 'emo'.* Is 'speakers' meant for 'speaker'"),
        (
            "utt,path,label,actor,fold\n",
            "'path' meant for 'wav'.*'label' meant for 'emo'.*'actor' meant for 'speaker'",
        ),
        ("a,a.wav,sad,s1,g1\nb,b.wav,ang,s2,g2\n", r"The first line must name them; it is \['a', 'a.wav', 'sad'"),
        ("id wav emo speaker group\n", "are missing.*it is.*They must be separated by commas, without quotes around"),
        (f'"{HEADER}"\n"a,a.wav,sad,s1,g1"\n', "without quotes around the whole line"),
        ("id,wav,emo,speaker,group,Emo\n", "the column 'emo' stands twice in"),
        (f'{HEADER}\na,"a.wav,sad,s1,g1\nb,b.wav,ang,s2,g2\n', "row 2: unexpected end of data. A quote is not closed"),
        (f'{HEADER}\na,a.wav,sad,s1,g1\nb,"b "x" c",ang,s2,g2\n', "row 3: .*written twice"),
        (f'{HEADER}\n"a\nb",a.wav,sad,s1,g1\n', r"row 2: the field 'id' holds a line break or the like: 'a\\nb'"),
        (
            f"{HEADER}\na,a.wav,sad,s1,g1\nb,b.wav,Sad,s2,g2\n",
            r"emo: 'sad' \(row 2\), 'Sad' \(row 3\) differ in capitals",
        ),
        (f"{HEADER}\na,a.wav,sad,3,g1\nb,b.wav,ang,03,g2\n", r"speaker: '3' \(row 2\), '03' \(row 3\) differ"),
        (
            f"{HEADER}\na,a.wav,sad,s,g1\nb,b.wav,ang,t,g\u200b1\n",
            r"group: 'g1' .*'g\\u200b1' \(row 3\) look alike, and are",
        ),
        (
            f"{HEADER}\na,a.wav,sad,\xe9,g\nb,b.wav,ang,e\u0301,g\n",
            r"'\\xe9' \(row 2\), 'e\\u0301' \(row 3\) look alike",
        ),
        (f"{HEADER}\na,a.wav,sad,dan,g\nb,b.wav,,Dan,g\n", r"speaker: 'dan' \(row 2\), 'Dan' \(row 3\) differ in"),
        (f"{HEADER}\na,a.wav,sad,s,g\na,b.wav,,s,g\n", "the id 'a' stands already in row 2"),
        (f"{HEADER}\na,{'x' * 200000}", "larger than field limit .131072.. Is it a list of utterances"),
    ],
)
def test_csv_that_cannot_be_meant_is_refused(tmp_path, text, message):
    assert re.search(message, refusal(write(tmp_path, text)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,wav,emo,speaker,group\na,a.wav,sad,Zoë,g\n".encode("latin-1"), 'line 2 is not UTF-8 .*"CSV UTF-8"'),
        (f"{HEADER}\n".encode("utf-16-le"), 'holds zero bytes. Save it as "CSV UTF-8"'),
        (b"PK\x03\x04 and so on", 'is a spreadsheet .*not a CSV. Save it as "CSV UTF-8"'),
        (b"\xd0\xcf\x11\xe0 and so on", "is a spreadsheet"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path, content, message):
    (tmp_path / "c.csv").write_bytes(content)
    assert re.search(message, refusal(tmp_path / "c.csv"))


def test_missing_file_and_folder_have_a_hint(tmp_path):
    path = write(tmp_path, HEADER)
    assert refusal(tmp_path / "cc.csv") == f"the list {tmp_path}/cc.csv does not exist. Did you mean {path}?"
    assert refusal(tmp_path / "no" / "where.csv").endswith("no/where.csv does not exist. Check the path.")
    assert refusal(tmp_path) == f"{tmp_path} is a folder, and a list is needed. Did you mean {path}?"


def prepare(folder, lines, **kwargs):
    """Write a CSV of these lines, and prepare it."""
    return prepare_corpus("csv", write(folder, "\n".join([HEADER, *lines])), progress=False, **kwargs)


def test_labels_are_read_from_the_data_sorted(recordings, capsys):
    prepared = prepare(recordings, ["b,b.wav,sad,s2,g2", "a,a.wav,joy,s1,g1", "d,deep/d.wav,sad,s1,g1"])
    assert (prepared.emotions, prepared.faults, prepared.copies) == (["joy", "sad"], [], [])
    assert prepared.manifest["d"].pop("samples_hash").startswith("16000 samples at 16000 Hz, SHA-256 ")
    assert prepared.manifest["d"] == {
        "wav": "{data_root}/deep/d.wav", "duration": 1.0, "emo": "sad", "speaker": "s1", "group": "g1"
    }  # fmt: skip
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert table[:4] == [["all", "joy", "sad"], ["g1", "2", "1", "1"], ["g2", "1", "0", "1"], ["total", "3", "1", "2"]]


@pytest.mark.parametrize(("label", "emotions"), [("ang", None), ("sad", ["ang"])])
def test_one_label_alone_is_refused(recordings, label, emotions):
    with pytest.raises(InputError, match="at least two different labels, got ang"):
        prepare(recordings, ["a,a.wav,ang,s1,g1", f"b,b.wav,{label},s2,g2"], emotions=emotions)


def test_repeated_ids_and_empty_fields_are_named_with_their_rows(tmp_path):
    lines = ["a,a.wav,ang,s1,g1", "b,b.wav,sad,,g2", "a,c.wav,sad,s3,g3", ",d.wav,ang,s4,g4"]
    with pytest.raises(InputError) as error:
        prepare(tmp_path, lines)
    assert str(error.value).splitlines() == [
        f"{tmp_path}/c.csv: 3 of 4 rows cannot be used:",
        "c.csv, row 3, b: the field 'speaker' is empty. Fill it in.",
        "c.csv, row 4: the id 'a' stands already in row 2. Leave one of them out, or give it an id of its own.",
        "c.csv, row 5: the field 'id' is empty. Fill it in.",
    ]


def test_recording_that_is_not_there_is_named_with_its_row_and_folder(tmp_path):
    with pytest.raises(InputError) as error:
        prepare(tmp_path, ["a,a.wav,ang,s1,g1", "b,b.wav,sad,s2,g2"])
    head, first, _ = str(error.value).splitlines()
    assert head == f"2 of 2 recordings cannot be used (their paths are relative to {tmp_path}):"
    assert first.startswith("c.csv, row 2, a: the recording cannot be opened") and f"{tmp_path}/a.wav" in first


def test_paths_may_be_absolute_at_home_or_windows(recordings, monkeypatch):
    monkeypatch.setenv("HOME", str(recordings))
    lines = [f"a,{recordings}/a.wav,ang,s1,g1", "b,~/b.wav,sad,s2,g2", r"d,deep\d.wav,sad,s2,g2"]
    wavs = [entry["wav"] for entry in prepare(recordings, lines).manifest.values()]
    assert wavs == ["{data_root}/a.wav", "{data_root}/b.wav", "{data_root}/deep/d.wav"]


def test_one_recording_in_two_groups_is_a_leak(recordings, capsys):
    sf.write(recordings / "copy.flac", *sf.read(recordings / "a.wav", dtype="int16"))  # other bytes, the same samples
    lines = ["a,a.wav,ang,s1,g1", "b,b.wav,sad,s2,g2", "e,copy.flac,ang,s2,g2", "f,a.wav,ang,s3,g3"]
    with pytest.raises(InputError) as error:
        prepare(recordings, lines)
    head, *found = str(error.value).splitlines()
    assert head.startswith("a recording is in two groups, so that a fold would test on what it trains on. Leave one")
    assert found == [
        "a and e are one recording (a.wav and copy.flac), in the groups g1 and g2.",
        "a and f are one recording (a.wav and a.wav), in the groups g1 and g3.",
    ]


def test_one_recording_twice_in_a_group_is_said(recordings, capsys):
    prepared = prepare(recordings, ["a,a.wav,ang,s1,g1", "b,b.wav,sad,s2,g2", "e,./a.wav,sad,s1,g1"])
    assert prepared.copies == ["a and e are one recording (a.wav and a.wav), labelled ang and sad."]
    assert "Twice in the corpus, in one group each:\na and e are one" in capsys.readouterr().out


def test_id_and_group_may_be_left_out(recordings, caplog):
    path = write(recordings, "wav,emo,speaker\na.wav,sad,s1\nb.wav,ang,s2\ndeep/d.wav,sad,s1\n")
    rows = read_rows(path)
    assert [(row["id"], row["group"]) for row in rows] == [("a", "s1"), ("b", "s2"), ("deep/d", "s1")]
    assert [record.getMessage() for record in caplog.records] == [
        "c.csv has no column group: each speaker is one (see group_by and n_folds)."
    ]


def test_ids_are_made_of_paths_and_times_and_stay_different(tmp_path):
    lines = ["a.wav,sad,s1,,", "a.flac,sad,s1,,", "b.wav,sad,s1,1,2.5", "b.wav,ang,s2,2.5,", "b.wav,ang,s2,,0.5"]
    rows = read_rows(write(tmp_path, "\n".join(["wav,emo,speaker,start,end", *lines])))
    assert [row["id"] for row in rows] == ["a.wav", "a.flac", "b_1-2.5", "b_2.5-", "b_-0.5"]
    said = refusal(write(tmp_path, "\n".join(["wav,emo,speaker,start,end", *lines, lines[2]])))
    assert said.endswith(
        "c.csv, row 7: the id 'b_1-2.5' stands already in row 4. Leave one of them out, or give it an id of its own."
    )


def test_segments_are_described_by_start_and_duration(recordings):
    header = "id,wav,emo,speaker,start,end\n"
    path = write(recordings, header + "x,a.wav,sad,s1,0.25,0.75\ny,b.wav,ang,s2,,0.5\nz,c.wav,ang,s2,,\n")
    entries = prepare_corpus("csv", path, progress=False).manifest.values()
    assert [(entry.get("start"), entry["duration"]) for entry in entries] == [(0.25, 0.5), (0.0, 0.5), (None, 1.0)]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ("1.5,1.0", "end must be after start, got 1 s and 1.5 s. Correct them."),
        ("x,2", "start must be a number of seconds from 0, got 'x'. Correct it."),
        ('"1,5",2', "start must be a number of seconds from 0, got '1,5'. Write 1.5 with a point."),
        ('0,"2,75"', "end must be a number of seconds from 0, got '2,75'. Write 2.75 with a point."),
        ("0,1:02.5", "end must be a number of seconds from 0, got '1:02.5'. Write 62.5."),
        ("-1,2", "start must be a number of seconds from 0, got '-1'. Correct it."),
        ("0,inf", "end must be a number of seconds from 0, got 'inf'. Correct it."),
    ],
)
def test_times_that_are_none_are_named(tmp_path, times, said):
    text = f"wav,emo,speaker,start,end\na.wav,sad,s1,{times}\n"
    assert refusal(write(tmp_path, text)).splitlines()[1] == f"c.csv, row 2: {said}"


def test_all_faults_of_all_kinds_are_in_the_error(tmp_path):
    lines = ["a.wav,sad,s1,2,1,", "b.wav,ang,s2,,,", "b.wav,ang,,x,,", "c.wav,sad,s1"]
    with pytest.raises(RowErrors) as error:
        read_rows(write(tmp_path, "\n".join(["wav,emo,speaker,start,end,text", *lines])))
    assert [fault.split(": ")[0] for fault in error.value.faults] == [f"c.csv, row {n}" for n in (2, 4, 4, 5)]
    assert [row["id"] for row in error.value.rows] == ["b"]


def test_segments_of_two_groups_that_overlap_are_refused(recordings):
    lines = ["a,a.wav,sad,s1,0,0.6", "b,a.wav,ang,s2,0.5,1", "c,b.wav,ang,s2,,0.5", "d,b.wav,ang,s2,0.25,1"]
    with pytest.raises(InputError) as error:
        prepare_corpus("csv", write(recordings, "\n".join(["id,wav,emo,speaker,start,end", *lines])), progress=False)
    head, *overlaps = str(error.value).splitlines()
    assert head.startswith("clips of two groups overlap, so that a fold would test on what it trains on. Correct start")
    assert overlaps == ["a (0.00 s to 0.60 s, group s1) and b (0.50 s to 1.00 s, group s2) overlap in a.wav."]


def test_a_name_of_thousands_of_digits_is_a_text(tmp_path):
    """Python converts no number of more than 4300 digits."""
    (tmp_path / "corpus.csv").write_text(f"wav,emo,speaker\na.wav,ang,{'9' * 5000}\n")
    assert [row["speaker"] for row in read_rows(tmp_path / "corpus.csv")] == ["9" * 5000]
