import hashlib
import json
import os
import shutil

import pytest
import torch

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import (
    BUNDLE_FILE,
    CARD_FILE,
    LARGEST_TEXT_BYTES,
    YAML_FILE,
    check_bundle,
    sha256_of,
)
from speechbrain_ext.inference.bundle_writer import seal_bundle
from tests.bundle_making import make_bundle


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("good") / "bundle")


@pytest.fixture
def bundle(good, tmp_path):
    return shutil.copytree(good, tmp_path / "bundle")


def edit_about(bundle, **changes):
    about = json.loads((bundle / BUNDLE_FILE).read_text())
    about.update(changes)
    (bundle / BUNDLE_FILE).write_text(json.dumps(about))


def list_file(bundle, name, digest="0" * 64):
    about = json.loads((bundle / BUNDLE_FILE).read_text())
    edit_about(bundle, files={**about["files"], name: digest})


def refused(bundle, *words, within=None):
    with pytest.raises(InputError) as caught:
        check_bundle(bundle, within)
    for word in (*words, "Nothing of it was run. Get it again from who made it."):
        assert word in str(caught.value)


def test_good_bundle_passes(bundle):
    checked = check_bundle(str(bundle))
    assert checked.folder == bundle
    assert checked.about["emotions"] == ["ang", "hap", "sad", "neu"]
    assert checked.yaml.parts == ["encoder", "f_0", "f_1"]


def test_sha256_is_that_of_hashlib(tmp_path):
    data = os.urandom((1 << 20) + 7)  # more than a block
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()


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
    edit_about(bundle, files={key: value for key, value in files.items() if key != name})
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
    refused(bundle, f"lists {name!r}, which is no name of a file in the folder")


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


@pytest.mark.parametrize("name", [YAML_FILE, BUNDLE_FILE])
def test_huge_text_is_refused(bundle, name):
    text = (bundle / name).read_text()
    (bundle / name).write_text(text.ljust(LARGEST_TEXT_BYTES))
    if name == YAML_FILE:
        seal_bundle(bundle)
    check_bundle(bundle)
    (bundle / name).write_text(text.ljust(LARGEST_TEXT_BYTES + 1))
    if name == YAML_FILE:
        seal_bundle(bundle)
    refused(bundle, f"{name} is larger than 65536 bytes")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
@pytest.mark.parametrize("name", [YAML_FILE, BUNDLE_FILE])
def test_other_encoding_is_refused(bundle, name, encoding):
    text = (bundle / name).read_text()
    comment = "# é\n" if name == YAML_FILE else '{"é": 1,'
    (bundle / name).write_bytes((comment + text.removeprefix("{")).encode(encoding))
    if name == YAML_FILE:
        seal_bundle(bundle)
    refused(bundle, f"{name} is no UTF-8 text")


def test_windows_line_ends_and_a_byte_order_mark_pass(bundle):
    text = (bundle / YAML_FILE).read_bytes()
    (bundle / YAML_FILE).write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    seal_bundle(bundle)
    check_bundle(bundle)


def test_fault_in_the_yaml_names_file_and_line(bundle):
    with open(bundle / YAML_FILE, "a") as file:
        file.write("x: !apply:os.getcwd []\n")
    seal_bundle(bundle)
    n_lines = (bundle / YAML_FILE).read_text().count("\n")
    refused(
        bundle,
        f"the bundle {bundle} is refused: hyperparams.yaml, line {n_lines}: "
        "the tag !apply:os.getcwd is not on the list of what a bundle may build.",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[" * 60_000, "is no JSON"),
        ('{"format": ' + "9" * 10_000 + "}", "is no JSON"),
        ("[]", "lists no files"),
        ("null", "lists no files"),
        ('{"format": 1}', "lists no files"),
        ('{"format": 1, "files": ["encoder.ckpt"]}', "lists no files"),
        ('{"format": 1, "files": {"encoder.ckpt": 1}}', "lists no files"),
        ('{"format": 2, "files": {}}', "its format is 2, and this version reads 1"),
        ('{"files": {}}', "its format is None, and this version reads 1"),
    ],
)
def test_wrong_bundle_json_is_refused(bundle, text, words):
    (bundle / BUNDLE_FILE).write_text(text)
    refused(bundle, words)


def test_folder_without_bundle_json_is_no_bundle(bundle):
    (bundle / BUNDLE_FILE).unlink()
    with pytest.raises(InputError, match=r"is no bundle: it has no bundle.json. `python recipes/IEMOCAP/export.py"):
        check_bundle(bundle)


def test_check_loads_no_weights(bundle, monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(torch.nn.Module, "__init__", None)
    check_bundle(bundle)
