"""A hyperparameter file: its base, its options, and what of it counts as a setting."""

import os
import re
import shutil

import pytest
from hyperpyyaml import load_hyperpyyaml

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.hparams_file import (
    build_hparams,
    hparams_text,
    plain_settings,
    read_settings,
    settings_fingerprint,
)
from tests.training.run_files import HPARAMS, load, options


def fingerprint(path, overrides=None, leave_out=()):
    """Compute the fingerprint of a file with options."""
    return settings_fingerprint(hparams_text(path, overrides), leave_out)


def test_read_settings_resolves_overrides_and_references_without_building(hparams_file):
    settings, overrides = read_settings(hparams_file, options(hparams_file, "seed: 7\ndata_folder: /corpus\n"))
    assert overrides == {"seed": 7, "data_folder": "/corpus"}
    assert (settings["seed"], settings["fold"], settings["lr"]) == (7, 1, 0.0001)
    assert settings["output_folder"] == "results/seed7/fold1"
    assert settings["data_folder"] == "/corpus"
    assert settings["emotions"] == ["ang", "sad"]
    assert settings["augmentations"][0].tag.value == "!new:collections.Counter"
    assert "schedule" not in settings  # the wiring


@pytest.mark.parametrize("overrides", [None, {}])
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
        read_settings(hparams_file, {"seed": 2, option: 3})
    assert ("Did you mean" in str(error.value)) == (option != "qqq")


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere.yaml", "nowhere.yaml does not exist. Give for instance hparams/"), (".", "is a folder. Give a hyper")],
)
def test_read_settings_refuses_a_missing_file(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        read_settings(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_read_settings_refuses_a_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "h.yaml")
    with pytest.raises(InputError, match="h.yaml is no regular file. Leave it out, or save what it gives as a file"):
        read_settings(tmp_path / "h.yaml")


@pytest.mark.parametrize("text", ["a: [1", "a: 1\na: 2\n", "a: b: c"])
def test_read_settings_refuses_a_file_that_is_no_yaml(tmp_path, text):
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(InputError, match=r"broken\.yaml is no YAML: (.|\n)*line"):
        read_settings(tmp_path / "broken.yaml")


def test_read_settings_of_a_moved_folder_points_to_its_new_place(claim, tmp_path):
    folder = claim("output_folder: /old/place\n")
    moved = tmp_path / "elsewhere" / "run1"
    shutil.move(folder, moved)
    settings, overrides = read_settings(
        moved / "hyperparams.yaml", options(moved / "hyperparams.yaml", "number_of_epochs: 7")
    )
    assert overrides == {"number_of_epochs": 7, "output_folder": str(moved)}
    assert settings["output_folder"] == str(moved)
    claim(file=moved / "hyperparams.yaml", folder=moved)
    assert load(moved / "hyperparams.yaml")["output_folder"] == str(moved)


def test_read_settings_of_a_run_folder_leaves_a_given_output_folder(claim):
    settings, _ = read_settings(
        claim() / "hyperparams.yaml", options(claim() / "hyperparams.yaml", "output_folder: /given")
    )
    assert settings["output_folder"] == "/given"


def test_read_settings_of_a_file_outside_a_run_folder_keeps_its_output_folder(tmp_path, claim):
    (tmp_path / "hyperparams.yaml").write_text(HPARAMS)  # the name alone makes no run folder
    assert read_settings(tmp_path / "hyperparams.yaml")[1] == {}
    folder = claim()
    (folder / "other.yaml").write_text(HPARAMS)
    assert read_settings(folder / "other.yaml")[1] == {}


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
        read_settings(tmp_path / "h.yaml")


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
        read_settings(tmp_path / "h.yaml", options(tmp_path / "h.yaml", option))
    overrides = "flag: true\nlr: 2\nname: 3\nlist: []"
    assert read_settings(tmp_path / "h.yaml", options(tmp_path / "h.yaml", overrides))[0] == {
        "flag": True,
        "lr": 2,
        "name": 3,
        "list": [],
    }
    assert read_settings(tmp_path / "h.yaml", options(tmp_path / "h.yaml", "lr: fast"), own_checks=("lr",))[1] == {
        "lr": "fast"
    }


def test_fingerprint_is_that_of_the_saved_settings(claim, hparams_file):
    given = "lr: 1\nemotions: [joy, rage]\ndata_folder: /here\n"
    saved = claim(given) / "hyperparams.yaml"
    overrides = options(hparams_file, given)
    leave_out = ("data_folder", "seed")
    found = fingerprint(saved, leave_out=leave_out)
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert fingerprint(hparams_file, overrides, leave_out) == found
    same = {**overrides, "lr": 1.0, "data_folder": "/there", "seed": 9}
    assert fingerprint(hparams_file, same, leave_out) == found
    for changed in ({"lr": 2}, {"emotions": ["rage", "joy"]}, {"augmentations": []}, {"note": 0}, {"note": False}):
        assert fingerprint(hparams_file, {**overrides, **changed}, leave_out) != found, changed
    assert fingerprint(hparams_file, {**overrides, "seed": 9}) != fingerprint(hparams_file, overrides)


def test_fingerprint_sees_classes_and_not_comments(hparams_file):
    found = fingerprint(hparams_file)
    text = hparams_file.read_text()
    hparams_file.write_text(text.replace("# 1 to 5", "# or another"))
    assert fingerprint(hparams_file) == found
    hparams_file.write_text(text.replace("Counter {gain: 1}", "OrderedDict {gain: 1}"))
    assert fingerprint(hparams_file) != found


def test_what_is_wired_otherwise_is_a_setting(hparams_file, tmp_path):
    plain = hparams_text(hparams_file)
    assert "custom_wiring" not in plain
    derived = tmp_path / "derived.yaml"
    derived.write_text("base: small.yaml\nschedule: !new:collections.OrderedDict {gain: 1}\nlr: 0.5\n")
    by_file, by_option = hparams_text(derived), hparams_text(hparams_file, {"log": "elsewhere.txt"})
    assert plain_settings(by_file)["custom_wiring"]["schedule"].keys() == {"!new:collections.OrderedDict"}
    assert load_hyperpyyaml(by_file)["schedule"] == {"gain": 1}  # the other class, without the first one's arguments
    assert plain_settings(by_option)["custom_wiring"] == {"log": "elsewhere.txt"}
    assert fingerprint(derived) != fingerprint(hparams_file, {"lr": 0.5})
    saved = tmp_path / "saved.yaml"
    saved.write_text(by_file)
    assert fingerprint(saved) == fingerprint(derived)
    assert plain_settings(hparams_text(saved)) == plain_settings(by_file)


def test_a_mapping_of_another_model_type_replaces_the_one_before(tmp_path):
    base, derived = tmp_path / "base.yaml", tmp_path / "derived.yaml"
    base.write_text("encoder_config: {model_type: hubert, hidden_size: 16}\n")
    derived.write_text("base: base.yaml\nencoder_config: {model_type: filterbank, n_mels: 40}\n")
    assert plain_settings(hparams_text(derived)) == {"encoder_config": {"model_type": "filterbank", "n_mels": 40}}
    derived.write_text("base: base.yaml\nencoder_config: {model_type: hubert, num_hidden_layers: 2}\n")
    config = {"model_type": "hubert", "hidden_size": 16, "num_hidden_layers": 2}
    assert plain_settings(hparams_text(derived)) == {"encoder_config": config}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: nowhere.yaml\n", "nowhere.yaml, which .*own.yaml names as its base, does not exist"),
        ("base: own.yaml\n", "own.yaml and .*own.yaml name each other as their base"),
        ("base:\n", "base must name a hyperparameter file, got None"),
        ("base: small.yaml\nlearning: 1\n", "the key learning is not in .*small.yaml"),
        ("base: small.yaml\nsed: 1\n", "the key sed is not in .*small.yaml. Did you mean seed"),
    ],
)
def test_a_base_that_cannot_be_is_refused(hparams_file, tmp_path, text, message):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        hparams_text(tmp_path / "own.yaml")


def test_file_that_is_read_again_is_as_it_stands_there(root):
    path = root / "hparams" / "loso.yaml"
    once, _ = read_settings(path)
    text = hparams_text(path)
    once["emotions"].append("fea")
    once["lr"] = 7
    again, _ = read_settings(path)
    assert again["emotions"] == ["ang", "hap", "sad", "neu"] and again["lr"] == 0.0001
    assert hparams_text(path) == text and "\nadam_betas: (0.9, 0.98)\n" in text
    assert load_hyperpyyaml(text.partition("\n# ====")[0])["adam_betas"] == (0.9, 0.98)  # a tuple, and no text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encoder: !new:my_parts.Encoder", "There is no such class as my_parts.Encoder. Is it spelt so, .*PYTHONPATH"),
        ("loss: !name:torch.nn.mse", "There is no such entity as torch.nn.mse"),
        (
            "f_1: !new:torch.nn.ReLU\n    slope: 2",
            "to class torch.nn.ReLU: .*unexpected keyword argument 'slope'. Correct",
        ),
    ],
)
def test_class_that_cannot_be_built_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        build_hparams(text)


def test_an_error_within_a_class_keeps_its_traceback():
    with pytest.raises(ImportError, match="no library"):
        build_hparams("x: !apply:tests.training.test_hparams_file.fail_to_import []")


def fail_to_import():
    raise ImportError("no library")
