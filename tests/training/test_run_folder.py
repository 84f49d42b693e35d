"""A run's folder: which settings are read, what is saved, and which run is refused in it."""

import json
import re
import shutil

import pytest
from hyperpyyaml import load_hyperpyyaml

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.run_folder import check_run_folder, claim_run_folder, read_settings, settings_fingerprint

HPARAMS = """\
# python train.py small.yaml

# ---- The run ----
seed: 1
fold: 1                 # 1 to 5
data_folder: null
note: null
output_folder: !ref results/seed<seed>/fold<fold>
number_of_epochs: 100
lr: 0.0001
betas: (0.9, 0.98)
emotions: [ang, sad]
augmentations:          # in this order
    - !new:collections.Counter {gain: 1}

# ---- How it is put together ----
schedule: !new:collections.Counter
    lr: !ref <lr>
    limit: !ref <number_of_epochs>
reader: !new:collections.Counter
    folder: !ref <data_folder>/wav
    epochs: !ref <number_of_epochs>
corpus: !ref <data_folder>
log: !ref <output_folder>/log.txt
"""
IDENTITY = {"fold": 1, "seed": 1, "manifest": "abc"}
RESUMABLE_KEYS = ("data_folder", "output_folder", "number_of_epochs", "tensorboard")


@pytest.fixture
def hparams_file(tmp_path):
    """Write the YAML file."""
    path = tmp_path / "small.yaml"
    path.write_text(HPARAMS, encoding="utf-8")
    return path


@pytest.fixture
def claim(tmp_path, hparams_file):
    """Return a function that claims the run's folder with an identity and options, as a recipe does."""

    def claim_with(overrides="", file=hparams_file, folder=tmp_path / "run", **identity):
        overrides = read_settings(file, overrides)[1]
        claim_run_folder(folder, {**IDENTITY, **identity}, file, overrides, RESUMABLE_KEYS)
        (folder / "save" / "CKPT+1").mkdir(parents=True, exist_ok=True)
        return folder

    return claim_with


def contents(folder):
    """Return every file's bytes and time of change by its name."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def load(path, overrides=None):
    """Read a saved file as a recipe does."""
    with open(path, encoding="utf-8") as file:
        return load_hyperpyyaml(file, overrides)


def test_read_settings_resolves_overrides_and_references_without_building(hparams_file):
    settings, overrides = read_settings(hparams_file, "seed: 7\ndata_folder: /corpus\n")
    assert overrides == {"seed": 7, "data_folder": "/corpus"}
    assert (settings["seed"], settings["fold"], settings["lr"]) == (7, 1, 0.0001)
    assert settings["output_folder"] == "results/seed7/fold1"
    assert settings["log"] == "results/seed7/fold1/log.txt"
    assert settings["corpus"] == "/corpus"
    assert settings["emotions"] == ["ang", "sad"]
    assert settings["schedule"].tag.value == "!new:collections.Counter"


@pytest.mark.parametrize("overrides", ["", None, {}])
def test_read_settings_without_overrides_is_the_file(hparams_file, overrides):
    settings, found = read_settings(str(hparams_file), overrides)
    assert found == {}
    assert settings["output_folder"] == "results/seed1/fold1"
    assert settings["data_folder"] is None


def test_read_settings_takes_overrides_as_a_dict_and_leaves_it_as_it_was(hparams_file, claim):
    given = {"seed": 2}
    assert read_settings(hparams_file, given)[0]["output_folder"] == "results/seed2/fold1"
    read_settings(claim() / "hyperparams.yaml", given)
    assert given == {"seed": 2}


@pytest.mark.parametrize(
    ("option", "hint"),
    [("sed", "Did you mean --seed"), ("number_of_epoch", "Did you mean --number_of_epochs"), ("qqq", "no such key.$")],
)
def test_read_settings_refuses_an_unknown_key_and_suggests_a_near_one(hparams_file, option, hint):
    with pytest.raises(InputError, match=f"^--{option} is unknown: .*{re.escape(str(hparams_file))}.*{hint}") as error:
        read_settings(hparams_file, f"seed: 2\n{option}: 3\n")
    assert ("Did you mean" in str(error.value)) == (option != "qqq")


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_read_settings_refuses_a_missing_file(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match=f"{re.escape(str(path))} does not exist. Give for instance hparams/"):
        read_settings(path, "")


@pytest.mark.parametrize("text", ["a: [1", "a: 1\na: 2\n", "a: b: c"])
def test_read_settings_refuses_a_file_that_is_no_yaml(tmp_path, text):
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(InputError, match=r"broken\.yaml is no YAML: (.|\n)*line"):
        read_settings(tmp_path / "broken.yaml", "")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("seed: [1", r"seed: \[1.* is no YAML: write --key=value"),
        ("seed", "the command line holds 'seed': write options as --key=value"),
        ("[1]", r"the command line holds .*\[1\].*: write options as --key=value"),
    ],
)
def test_read_settings_refuses_broken_options(hparams_file, overrides, message):
    with pytest.raises(InputError, match=message):
        read_settings(hparams_file, overrides)


def test_read_settings_takes_the_last_of_two_options_with_one_key(hparams_file):
    assert read_settings(hparams_file, "seed: 2\nfold: 4\nseed: 3\n")[1] == {"seed": 3, "fold": 4}


def test_claim_new_folder_saves_identity_and_settings(claim):
    folder = claim("seed: 7\nemotions: [ang, hap, sad]\n")
    assert json.loads((folder / "run.json").read_text()) == IDENTITY
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
    assert text.startswith(
        "# python train.py small.yaml\n\n# ---- The run ----\nseed: 7\nfold: 1                 # 1 to 5\n"
    )
    assert f"data_folder: {long}\nnote:\noutput_folder: !ref results/seed<seed>/fold<fold>\n" in text


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
        ("augmentations: [noise]", r"augmentations is .*Counter.*\{'gain': 1\}.* there, \['noise'\] now"),
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
    hparams_file.write_text(f"{optimizer}modules:\n    schedule: !ref <schedule>\n{HPARAMS}")
    claim()
    with pytest.raises(InputError) as error:
        claim("lr: 0.001")
    assert str(error.value).count(" now") == 1
    assert not [key for key in ("schedule", "optimizer", "modules") if key in str(error.value)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schedule: !new:collections.Counter", "schedule: !new:abc.ABC", "schedule is .*Counter.*ABC"),
        ("lr: !ref <lr>\n", "lr: 0.5\n", "schedule is .*!new.*'<lr>'.* there, .*!new.*'lr': 0.5.* now"),
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
    text = HPARAMS.replace("seed: 1\n", "").replace("# 1 to 5", "# which session") + "seed: 1   # any\n"
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
    (folder / "hyperparams.yaml").unlink()  # killed between the two files
    claim()
    assert load(folder / "hyperparams.yaml")["lr"] == 0.0001


def test_read_settings_of_a_moved_folder_points_to_its_new_place(claim, tmp_path):
    folder = claim("output_folder: /old/place\n")
    moved = tmp_path / "elsewhere" / "run1"
    shutil.move(folder, moved)
    settings, overrides = read_settings(moved / "hyperparams.yaml", "number_of_epochs: 7")
    assert overrides == {"number_of_epochs": 7, "output_folder": str(moved)}
    assert (settings["output_folder"], settings["log"]) == (str(moved), f"{moved}/log.txt")
    claim(file=moved / "hyperparams.yaml", folder=moved)
    assert load(moved / "hyperparams.yaml")["output_folder"] == str(moved)


def test_read_settings_of_a_run_folder_leaves_a_given_output_folder(claim):
    settings, _ = read_settings(claim() / "hyperparams.yaml", "output_folder: /given")
    assert settings["output_folder"] == "/given"


def test_read_settings_of_a_file_outside_a_run_folder_keeps_its_output_folder(tmp_path, claim):
    (tmp_path / "hyperparams.yaml").write_text(HPARAMS)  # the name alone makes no run folder
    assert read_settings(tmp_path / "hyperparams.yaml", "")[1] == {}
    folder = claim()
    (folder / "other.yaml").write_text(HPARAMS)
    assert read_settings(folder / "other.yaml", "")[1] == {}


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
    expected = read_settings(folder / "hyperparams.yaml", overrides)[0]["note"]
    assert load(folder / "hyperparams.yaml")["note"] == expected
    claim(overrides)  # and knows it again
    claim(file=folder / "hyperparams.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no settings"),
        ("- 1\n", "holds no settings"),
        ("a: [1\n", "is no YAML"),
        ("a: !ref <b>\n", "do not fit together: .*b"),
        ("a: !PLACEHOLDER\n", "do not fit together"),
    ],
)
def test_read_settings_refuses_a_file_without_settings(tmp_path, text, message):
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(InputError, match=f"h.yaml.*{message}"):
        read_settings(tmp_path / "h.yaml", "")


def test_read_settings_takes_the_last_of_two_options(hparams_file):
    assert read_settings(hparams_file, "fold: 1\nseed: 2\n\nfold: 3")[1] == {"fold": 3, "seed": 2}


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
        claim_run_folder(tmp_path / "run", IDENTITY, tmp_path / "h.yaml", {})
        (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True, exist_ok=True)


def test_claim_lets_settings_be_corrected_before_the_first_checkpoint(claim, hparams_file):
    folder = claim("lr: 5")
    (folder / "save" / "CKPT+1").rmdir()
    claim("lr: 0.5")
    assert load(folder / "hyperparams.yaml")["lr"] == 0.5
    (folder / "save" / "CKPT+1").rmdir()
    with pytest.raises(InputError, match="fold is 1 there, 2 now"):  # it may be running at this moment
        claim(fold=2)


def test_claim_sees_what_stands_after_a_hash_in_a_text(tmp_path):
    (tmp_path / "h.yaml").write_text("note: x\n")
    claim_run_folder(tmp_path / "run", IDENTITY, tmp_path / "h.yaml", {"note": "run #1"})
    (tmp_path / "run" / "save" / "CKPT+1").mkdir(parents=True)
    with pytest.raises(InputError, match="note is run #1 there, run #2 now"):
        claim_run_folder(tmp_path / "run", IDENTITY, tmp_path / "h.yaml", {"note": "run #2"})


def test_claim_refuses_a_broken_run_file(claim):
    folder = claim()
    (folder / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json is no JSON.*Choose another --output_folder"):
        claim()


def test_option_with_a_tagged_item_is_saved_and_loads(claim, hparams_file):
    folder = claim("augmentations: [!new:collections.Counter {a: 2}, !new:collections.Counter {b: 3}]")
    assert load(folder / "hyperparams.yaml")["augmentations"] == [{"a": 2}, {"b": 3}]
    overrides = read_settings(hparams_file, "augmentations: [!new:collections.Counter {a: 2}]")[1]
    assert load(hparams_file, overrides)["augmentations"] == [{"a": 2}]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("flag: no", "flag must be True or False, got 'no'"),
        ("flag: 1", "flag must be True or False, got 1"),
        ("lr: fast", r"lr must be a number \(in the file it is 0.5\), got 'fast'"),
    ],
)
def test_read_settings_refuses_a_value_of_another_kind(tmp_path, option, message):
    (tmp_path / "h.yaml").write_text("flag: False\nlr: 0.5\nname: x\nlist: [1]\n")
    with pytest.raises(InputError, match=message):
        read_settings(tmp_path / "h.yaml", option)
    overrides = "flag: true\nlr: 2\nname: 3\nlist: []"
    assert read_settings(tmp_path / "h.yaml", overrides)[0] == {"flag": True, "lr": 2, "name": 3, "list": []}
    assert read_settings(tmp_path / "h.yaml", "lr: fast", own_checks=("lr",))[1] == {"lr": "fast"}


def test_check_refuses_as_claim_does_and_writes_nothing(claim, hparams_file, tmp_path):
    check_run_folder(tmp_path / "run", IDENTITY, hparams_file, {}, RESUMABLE_KEYS)
    assert not (tmp_path / "run").exists()
    folder = claim()
    before = contents(folder)
    check_run_folder(folder, IDENTITY, hparams_file, {"number_of_epochs": 3}, RESUMABLE_KEYS)
    with pytest.raises(InputError, match="holds another run: seed is 1 there, 2 now"):
        check_run_folder(folder, {**IDENTITY, "seed": 2}, hparams_file, {}, RESUMABLE_KEYS)
    with pytest.raises(InputError, match="holds a run with other settings: lr is 0.0001 there, 0.5 now"):
        check_run_folder(folder, IDENTITY, hparams_file, {"lr": 0.5}, RESUMABLE_KEYS)
    assert contents(folder) == before


def test_fingerprint_is_that_of_the_saved_settings(claim, hparams_file):
    options = "lr: 1\nemotions: [joy, rage]\ndata_folder: /here\n"
    saved = claim(options) / "hyperparams.yaml"
    overrides = read_settings(hparams_file, options)[1]
    leave_out = ("data_folder", "seed")
    found = settings_fingerprint(saved, leave_out=leave_out)
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert settings_fingerprint(hparams_file, overrides, leave_out) == found
    same = {**overrides, "lr": 1.0, "data_folder": "/there", "seed": 9}
    assert settings_fingerprint(hparams_file, same, leave_out) == found
    for changed in ({"lr": 2}, {"emotions": ["rage", "joy"]}, {"augmentations": []}, {"note": 0}, {"note": False}):
        assert settings_fingerprint(hparams_file, {**overrides, **changed}, leave_out) != found, changed
    assert settings_fingerprint(hparams_file, {**overrides, "seed": 9}) != settings_fingerprint(hparams_file, overrides)


def test_fingerprint_sees_classes_and_not_comments(hparams_file):
    found = settings_fingerprint(hparams_file)
    text = hparams_file.read_text()
    hparams_file.write_text(text.replace("# 1 to 5", "# or another"))
    assert settings_fingerprint(hparams_file) == found
    hparams_file.write_text(text.replace("Counter {gain: 1}", "OrderedDict {gain: 1}"))
    assert settings_fingerprint(hparams_file) != found


def test_run_file_that_names_no_run_is_refused(claim):
    folder = claim()
    (folder / "run.json").write_text("null")
    with pytest.raises(InputError, match="run.json names no run, it holds None. Choose another --output_folder"):
        claim()
