import hashlib
import json
import os
import shutil

import pytest
import torch

from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import (
    BUNDLE_FILE,
    CARD_FILE,
    LARGEST_JSON_BYTES,
    YAML_FILE,
    check_bundle,
)
from speechbrain_ext.inference.bundle_settings import BundleSettings
from tests.bundle_making import edit_json, make_bundle, make_parts


def list_file(bundle, name, digest="0" * 64):
    about = json.loads((bundle / BUNDLE_FILE).read_text())
    edit_json(bundle, files={**about["files"], name: digest})


def refused(bundle, *words, within=None):
    with pytest.raises(InputError) as caught:
        check_bundle(bundle, within)
    for word in (*words, "Nothing of it was run. Get it again from who made it."):
        assert word in str(caught.value)


def test_good_bundle_passes(bundle):
    checked = check_bundle(str(bundle))
    assert checked.folder == bundle
    assert checked.about["emotions"] == ["ang", "hap", "sad", "neu"]
    assert checked.settings == BundleSettings(
        ["ang", "hap", "sad", "neu"], emb_dim=64, encoder_config=make_parts()["encoder"].architecture()
    )


@pytest.mark.parametrize("name", ["encoder.ckpt", "f_0.ckpt", "f_1.ckpt", YAML_FILE])
def test_swapped_file_is_refused(bundle, name):
    with open(bundle / name, "ab") as file:
        file.write(b"\n")
    refused(bundle, f"{name} is not the file that {BUNDLE_FILE} lists (SHA-256 {sha256_of(bundle / name)[:12]}...")


def test_weights_of_another_part_are_refused(bundle):
    shutil.copyfile(bundle / "f_1.ckpt", bundle / "f_0.ckpt")
    refused(bundle, f"f_0.ckpt is not the file that {BUNDLE_FILE} lists")


@pytest.mark.parametrize("name", ["encoder.ckpt", YAML_FILE])
def test_missing_file_is_refused(bundle, name):
    (bundle / name).unlink()
    refused(bundle, f"{name} is missing")


def test_a_corrected_or_missing_card_and_files_beside_the_bundle_are_no_matter(bundle):
    (bundle / CARD_FILE).write_text("corrected on the Hub")
    check_bundle(bundle)
    (bundle / CARD_FILE).unlink()
    (bundle / ".gitattributes").write_text("")
    check_bundle(bundle)


@pytest.mark.parametrize("name", ["encoder.ckpt", YAML_FILE])
def test_file_that_is_not_listed_is_refused(bundle, name):
    files = json.loads((bundle / BUNDLE_FILE).read_text())["files"]
    edit_json(bundle, files={key: value for key, value in files.items() if key != name})
    refused(bundle, f"{BUNDLE_FILE} does not list {name}")


@pytest.mark.parametrize(
    "name",
    [
        "../x.ckpt",
        "/etc/passwd",
        "sub/x.ckpt",
        "..",
        ".",
        "",
        "a\0b",
        "..\\x",
        "C:\\x",
        "C:x",
        "~",
        " x",
        "x" * 300,
        "a\nb",
    ],
)
def test_listed_path_is_refused(bundle, name):
    (bundle.parent / "x.ckpt").write_bytes(b"")
    list_file(bundle, name, hashlib.sha256(b"").hexdigest())
    refused(bundle, f"lists {name!r}"[:40], "which is no name of a file in the folder")


@pytest.mark.parametrize("name", ["encoder.ckpt", YAML_FILE, BUNDLE_FILE])
def test_link_out_of_the_folder_is_refused(bundle, name):
    shutil.move(bundle / name, bundle.parent / "elsewhere")
    (bundle / name).symlink_to("../elsewhere")
    refused(bundle, f"{name} is a link to {bundle.parent.resolve() / 'elsewhere'}, out of the folder")


def test_link_to_a_neighbour_whose_name_begins_alike_is_refused(bundle):
    (bundle.parent / "bundle2").mkdir()
    shutil.move(bundle / "f_0.ckpt", bundle.parent / "bundle2" / "f_0.ckpt")
    (bundle / "f_0.ckpt").symlink_to("../bundle2/f_0.ckpt")
    refused(bundle, "f_0.ckpt is a link to")


def test_links_within_what_is_allowed_pass(bundle):
    snapshot = bundle.parent / "snapshots" / "1"  # as the Hub's cache lays it out
    snapshot.mkdir(parents=True)
    for path in bundle.iterdir():
        (snapshot / path.name).symlink_to(f"../../bundle/{path.name}")
    check_bundle(snapshot, within=bundle.parent)
    refused(snapshot, "is a link to", within=bundle.parent / "snapshots")


def test_linked_bundle_passes(bundle):
    (bundle.parent / "link").symlink_to(bundle)
    check_bundle(bundle.parent / "link")


@pytest.mark.parametrize("name", ["encoder.ckpt", YAML_FILE, BUNDLE_FILE])
def test_folder_in_place_of_a_file_is_refused(bundle, name):
    (bundle / name).unlink()
    (bundle / name).mkdir()
    refused(bundle, f"{name} is missing, or no file")


def test_pipe_in_place_of_a_file_is_refused(bundle):
    (bundle / "f_0.ckpt").unlink()
    os.mkfifo(bundle / "f_0.ckpt")  # who opens it waits for ever
    refused(bundle, "f_0.ckpt is missing, or no file")


def test_huge_bundle_json_is_refused(bundle):
    text = (bundle / BUNDLE_FILE).read_text()
    (bundle / BUNDLE_FILE).write_text(text.ljust(LARGEST_JSON_BYTES))
    check_bundle(bundle)
    (bundle / BUNDLE_FILE).write_text(text.ljust(LARGEST_JSON_BYTES + 1))
    refused(bundle, "bundle.json is larger than 65536 bytes")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_other_encoding_is_refused(bundle, encoding):
    edit_json(bundle, corpus_title="x")
    text = (bundle / BUNDLE_FILE).read_text().replace('"x"', '"é"')
    (bundle / BUNDLE_FILE).write_bytes(text.encode(encoding))
    refused(bundle, "bundle.json is no UTF-8 text")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[" * 60_000, "is no JSON"),
        ('{"format": ' + "9" * 10_000 + "}", "is no JSON"),
        ('{"format": NaN}', "NaN is no number in JSON"),
        ('{"format": -Infinity}', "-Infinity is no number in JSON"),
        ('{"format": 1, "format": 1}', "'format' stands twice"),
        ('{"format": 1, "files": {"a": "", "a": ""}}', "'a' stands twice"),
        ("[]", "lists no files"),
        ("null", "lists no files"),
        ('{"format": 1}', "lists no files"),
        ('{"format": 1, "files": ["encoder.ckpt"]}', "lists no files"),
        ('{"format": 1, "files": {"encoder.ckpt": 1}}', "lists no files"),
        ('{"format": 1, "files": {"encoder.ckpt": "\\u001b[2J"}}', "lists no files"),
        ('{"format": 2, "files": {}}', "its format is 2, and this version reads 1"),
        ('{"format": true, "files": {}}', "its format is True, and this version reads 1"),
        ('{"format": 1.0, "files": {}}', "its format is 1.0, and this version reads 1"),
        ('{"files": {}}', "its format is None, and this version reads 1"),
        ('{"format": 1, "files": {}}', "bundle.json: emotions is missing"),
    ],
)
def test_wrong_bundle_json_is_refused(bundle, text, words):
    (bundle / BUNDLE_FILE).write_text(text)
    refused(bundle, words)


def test_folder_without_bundle_json_is_no_bundle(bundle):
    (bundle / BUNDLE_FILE).unlink()
    with pytest.raises(InputError, match=r"is no bundle: it has no bundle.json. `speechbrain-ext export"):
        check_bundle(bundle)


def test_check_loads_no_weights(bundle, monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(torch.nn.Module, "__init__", None)
    check_bundle(bundle)


def test_any_digit_of_the_settings_that_has_changed_is_noticed(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    path = bundle / BUNDLE_FILE
    text = path.read_text()
    for before, after in (('"sample_rate": 16000', '"sample_rate": 16010'), ('"emb_dim": 64', '"emb_dim": 65')):
        path.write_text(text.replace(before, after))
        with pytest.raises(InputError, match="bundle.json is not as it was written .its sha256 differs.. Nothing"):
            check_bundle(bundle)
    path.write_text(text.replace('"sha256"', '"made_by"'))
    with pytest.raises(InputError, match="made_by is unknown"):
        check_bundle(bundle)
