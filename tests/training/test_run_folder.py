"""A run's folder: what is saved, and which run is refused in it."""

import json
import re

import pytest
from ruamel.yaml import YAML

from speechbrain_ext.errors import InputError
from speechbrain_ext.json_reader import with_checksum
from speechbrain_ext.training.hparams_file import hparams_text
from speechbrain_ext.training.run_folder import check_run_folder, claim_run_folder
from tests.training.run_files import HPARAMS, IDENTITY, RESUMABLE_KEYS, contents, load, options


def test_claim_new_folder_saves_identity_and_settings(claim):
    folder = claim("seed: 7\nemotions: [ang, hap, sad]\n")
    assert json.loads((folder / "run.json").read_text()) == with_checksum(IDENTITY)
    assert sorted(path.name for path in folder.iterdir()) == ["hyperparams.yaml", "run.json", "save"]
    saved = load(folder / "hyperparams.yaml")
    assert saved == load(folder / "hyperparams.yaml", {"seed": 7})
    assert saved["emotions"] == ["ang", "hap", "sad"]
    assert saved["output_folder"] == "results/seed7/fold1"
    assert saved["betas"] == (0.9, 0.98)
    assert saved["augmentations"] == [{"gain": 1}]
    assert saved["schedule"] == {"lr": 0.0001, "limit": 100}


def test_claim_saved_settings_take_further_overrides_through_references(claim):
    saved_file = claim("number_of_epochs: 5\ndata_folder: /corpus\n") / "hyperparams.yaml"
    assert load(saved_file)["schedule"]["limit"] == 5
    further = load(saved_file, {"number_of_epochs": 8, "seed": 3})
    assert (further["schedule"]["limit"], further["reader"]["epochs"]) == (8, 8)
    assert further["reader"]["folder"] == "/corpus/wav"
    assert further["log"] == "results/seed3/fold1/log.txt"


def test_claim_saved_settings_keep_order_comments_and_long_lines(claim):
    long = "a folder of many words " * 9 + "here"
    text = (claim(f"seed: 7\ndata_folder: {long}\n") / "hyperparams.yaml").read_text(encoding="utf-8")
    assert text.partition("\n")[2].startswith(
        "# python train.py small.yaml\n\n# ---- The run ----\nseed: 7\nfold: 1                 # 1 to 5\n"
    )
    assert f"data_folder: {long}\nnote: null\noutput_folder: !ref results/seed<seed>/fold<fold>\n" in text


@pytest.mark.parametrize(
    "overrides", ["", "seed: 7\n", "lr: 1e-4\n", "augmentations: [!new:collections.Counter {a: 1}]"]
)
def test_claim_same_run_again_is_taken(claim, overrides):
    folder = claim(overrides)
    before = {name: data for name, (data, _) in contents(folder).items()}
    claim(overrides)
    assert {name: data for name, (data, _) in contents(folder).items()} == before


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({"fold": 2}, "fold is 1 there, 2 now"),
        ({"seed": 5}, "seed is 1 there, 5 now"),
        ({"manifest": "xyz"}, "manifest is 'abc' there, 'xyz' now"),
        ({"protocol": "new"}, "protocol is None there, 'new' now"),
    ],
)
def test_claim_refuses_another_identity_and_changes_nothing(claim, identity, message):
    folder = claim()
    before = contents(folder)
    cure = "Choose another --output_folder, or delete that one"
    with pytest.raises(InputError, match=f"^{re.escape(str(folder))} holds another run: {message}. {cure}"):
        claim(**identity)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("lr: 0.001", "lr is 0.0001 there, 0.001 now"),
        ("betas: (0.9, 0.999)", r"betas is \(0.9, 0.98\) there, \(0.9, 0.999\) now"),
        ("emotions: [ang]", r"emotions is \['ang', 'sad'\] there, \['ang'\] now"),
        ("augmentations: [noise]", r"augmentations is .*Counter.*'gain': 1.* there, \['noise'\] now"),
        ("lr: 0.5\nemotions: [sad]", r"lr is 0.0001 there, 0.5 now; emotions is \['ang', 'sad'\] there, \['sad'\] now"),
    ],
)
def test_claim_refuses_another_setting_and_changes_nothing(claim, overrides, message):
    folder = claim()
    before = contents(folder)
    cure = "Choose another --output_folder, or delete that one"
    message = f"^{re.escape(str(folder))} holds a run with other settings: {message}. {cure}"
    with pytest.raises(InputError, match=message):
        claim(overrides)
    assert contents(folder) == before


def test_claim_names_the_changed_value_and_not_what_refers_to_it(claim, hparams_file):
    optimizer = "optimizer: !name:collections.Counter\n    lr: !ref <lr>\n"
    hparams_file.write_text(f"{HPARAMS}{optimizer}modules:\n    schedule: !ref <schedule>\n")
    claim()
    with pytest.raises(InputError) as error:
        claim("lr: 0.001")
    assert str(error.value).count(" now") == 1
    assert not [key for key in ("schedule", "optimizer", "modules") if key in str(error.value)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("!new:collections.Counter {gain: 1}", "!new:abc.ABC {gain: 1}", "augmentations is .*Counter.*ABC"),
        ("emotions: [ang, sad]\n", "", r"emotions is \['ang', 'sad'\] there, missing now"),
        ("seed: 1\n", "seed: 1\npatience: 3\n", "patience is missing there, 3 now"),
    ],
)
def test_claim_refuses_a_file_that_was_edited_meanwhile(claim, hparams_file, old, new, message):
    folder = claim()
    before = contents(folder)
    assert old in HPARAMS
    hparams_file.write_text(HPARAMS.replace(old, new))
    with pytest.raises(InputError, match=message):
        claim()
    assert contents(folder) == before


def test_claim_takes_a_file_in_which_only_order_and_end_of_line_comments_changed(claim, hparams_file):
    claim()
    moved = HPARAMS.replace("seed: 1\n", "").replace("# 1 to 5", "# which session")
    text = moved.replace("\n# ====", "\nseed: 1   # any\n\n# ====")
    hparams_file.write_text(text)
    claim()


def test_claim_lets_what_may_change_differ_also_where_it_is_referred_to(claim):
    folder = claim()
    claim("number_of_epochs: 200\ndata_folder: /moved\noutput_folder: /other\n")
    saved = load(folder / "hyperparams.yaml")
    assert (saved["schedule"]["limit"], saved["reader"]["folder"], saved["corpus"]) == (200, "/moved/wav", "/moved")
    claim()


def test_claim_takes_a_file_with_a_new_key_that_may_change(claim, hparams_file):
    folder = claim()
    hparams_file.write_text(HPARAMS + "tensorboard: True\n")
    claim()
    assert load(folder / "hyperparams.yaml")["tensorboard"] is True


def test_claim_goes_on_from_the_saved_file_itself(claim):
    folder = claim("lr: 0.01\ndata_folder: /corpus\n")
    claim(file=folder / "hyperparams.yaml")
    claim("number_of_epochs: 7", file=folder / "hyperparams.yaml")
    saved = load(folder / "hyperparams.yaml")
    assert (saved["lr"], saved["data_folder"], saved["schedule"]["limit"]) == (0.01, "/corpus", 7)
    with pytest.raises(InputError, match="lr is 0.01 there, 0.02 now"):
        claim("lr: 0.02", file=folder / "hyperparams.yaml")


def test_claim_without_saved_settings_goes_on(claim):
    folder = claim()
    (folder / "hyperparams.yaml").unlink()
    (folder / "save" / "CKPT+1").rmdir()  # killed between the two files
    claim()
    assert load(folder / "hyperparams.yaml")["lr"] == 0.0001


@pytest.mark.parametrize("overrides", ["", "lr: 0.5"])
def test_claim_refuses_checkpoints_of_which_the_settings_are_gone(claim, overrides):
    folder = claim()
    (folder / "hyperparams.yaml").unlink()
    before = contents(folder)
    with pytest.raises(InputError, match="hyperparams.yaml is missing, without which .* Copy that file again from wh"):
        claim(overrides)
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["save", "hyperparams.yaml"])
def test_claim_refuses_a_foreign_folder_and_changes_nothing(tmp_path, claim, name):
    folder = tmp_path / "run"
    folder.mkdir()
    if name == "save":
        (folder / "save").mkdir()
    else:
        (folder / name).write_text("theirs: 1\n")
    message = f"{re.escape(str(folder))} holds a run that this program did not start. Choose another --output_folder"
    with pytest.raises(InputError, match=message):
        claim()
    assert [path.name for path in folder.iterdir()] == [name]
    if name != "save":
        assert (folder / name).read_text() == "theirs: 1\n"


def test_claim_takes_an_empty_folder(tmp_path, claim):
    (tmp_path / "run").mkdir()
    assert (claim() / "run.json").exists()


@pytest.mark.parametrize(
    "value",
    ["null", "true", ".inf", "1.0e-9", "-5", "'007'", "''", "'a: b'", "'#x'", "é", '"a\\nb"', "'" + "word " * 40 + "'"],
)
def test_claim_saves_every_kind_of_value_as_it_was(claim, value):
    overrides = f"note: {value}"
    folder = claim(overrides)
    expected = YAML(typ="safe").load(value)
    assert load(folder / "hyperparams.yaml")["note"] == expected
    claim(overrides)  # and knows it again
    claim(file=folder / "hyperparams.yaml")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "note: x # one\naug:\n    - a\n\n# old words\nb: 1.0e-4\n",
            "note: x # two\naug:\n    - a\n\n# new words\nb: 0.0001\n",
        ),
        ("a: {b: 1, c: 2}\n", "a:\n    b: 1\n    c: 2\n"),
    ],
)
def test_claim_compares_values_and_not_their_writing(tmp_path, first, second):
    for text in (first, second):
        (tmp_path / "h.yaml").write_text(text)
        claim_run_folder(tmp_path / "run", IDENTITY, hparams_text(tmp_path / "h.yaml"))
        (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True, exist_ok=True)


def test_claim_lets_settings_be_corrected_before_the_first_checkpoint(claim, hparams_file):
    folder = claim("lr: 5")
    (folder / "save" / "CKPT+1").rmdir()
    claim("lr: 0.5")
    assert load(folder / "hyperparams.yaml")["lr"] == 0.5


@pytest.mark.parametrize("left", ["train_log.txt", "epochs.json", "test_metrics.json", "save/incomplete", "mine.doc"])
def test_claim_takes_a_folder_in_which_nothing_was_trained(claim, left):
    folder = claim()
    (folder / "save" / "CKPT+1").rmdir()
    (folder / "log.txt").write_text("refused")
    (folder / left).touch()
    with pytest.raises(InputError, match="fold is 1 there, 2 now"):
        claim(fold=2)
    (folder / left).unlink()
    claim(fold=2)
    assert json.loads((folder / "run.json").read_text())["fold"] == 2


@pytest.mark.parametrize("name", ["test_metrics.json", "predictions.csv", "confusion.png", "epochs.json", "run.json"])
def test_claim_refuses_a_folder_in_the_place_of_a_file(claim, name, tmp_path):
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(
        InputError, match=f"{name} is a folder, where the run has to write a file. Move it away. Choose"
    ):
        claim()


def test_claim_sees_what_stands_after_a_hash_in_a_text(tmp_path):
    (tmp_path / "h.yaml").write_text("note: x\n")
    claim_run_folder(tmp_path / "run", IDENTITY, hparams_text(tmp_path / "h.yaml", {"note": "run #1"}))
    (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True)
    with pytest.raises(InputError, match="note is run #1 there, run #2 now"):
        claim_run_folder(tmp_path / "run", IDENTITY, hparams_text(tmp_path / "h.yaml", {"note": "run #2"}))


def test_claim_refuses_a_broken_run_file(claim):
    folder = claim()
    (folder / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json is no JSON.*Choose another --output_folder"):
        claim()


def test_option_with_a_tagged_item_is_saved_and_loads(claim, hparams_file):
    folder = claim("augmentations: [!new:collections.Counter {a: 2}, !new:collections.Counter {b: 3}]")
    assert load(folder / "hyperparams.yaml")["augmentations"] == [{"a": 2}, {"b": 3}]
    overrides = options(hparams_file, "augmentations: [!new:collections.Counter {a: 2}]")
    assert load(hparams_file, overrides)["augmentations"] == [{"a": 2}]


def test_check_refuses_as_claim_does_and_writes_nothing(claim, hparams_file, tmp_path):
    def check(identity=IDENTITY, **overrides):
        check_run_folder(tmp_path / "run", identity, hparams_text(hparams_file, overrides), RESUMABLE_KEYS)

    check()
    assert not (tmp_path / "run").exists()
    folder = claim()
    before = contents(folder)
    check(number_of_epochs=3)
    with pytest.raises(InputError, match="holds another run: seed is 1 there, 2 now"):
        check({**IDENTITY, "seed": 2})
    with pytest.raises(InputError, match="holds a run with other settings: lr is 0.0001 there, 0.5 now"):
        check(lr=0.5)
    assert contents(folder) == before


def test_run_file_with_another_number_is_refused(claim):
    path = claim() / "run.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 3'))
    with pytest.raises(InputError, match="run.json is not as it was written: its sha256 differs. Copy that file again"):
        claim()


def test_run_file_that_names_no_run_is_refused(claim):
    folder = claim()
    (folder / "run.json").write_text("null")
    with pytest.raises(InputError, match="run.json holds None, not an object. Copy .* Choose another --output_folder"):
        claim()
