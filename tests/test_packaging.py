"""The wheel: what is inside, and that everything works from it, outside the checkout."""

import csv
import email
import json
import shutil
import subprocess
import sys
import zipfile

import pytest
import soundfile

from speechbrain_ext import __version__
from speechbrain_ext.commands.main import COMMANDS
from tests.babble import make_babble
from tests.bundle_making import EMOTIONS, make_bundle

COPIED = (
    "speechbrain_ext",
    "recipes",
    "tests",
    "hparams",
    "benchmarks",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """Build the wheel from a copy of the checkout, which building would write into."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, folder / name)
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder / "dist", folder)
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel into an empty folder, without what it depends on."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--target", folder, wheel)
    return folder


def pip(command, *words):
    """Run pip on this machine alone."""
    line = [sys.executable, "-m", "pip", command, "--quiet", "--no-deps", "--no-index", "--no-cache-dir"]
    subprocess.run([*line, "--disable-pip-version-check", *map(str, words)], check=True)


def python(installed, folder, *words):
    """Run Python with what is installed, from a folder outside the checkout."""
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed), "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, words)], cwd=folder, env=env, capture_output=True, text=True)


def test_wheel_holds_the_library_and_nothing_else(wheel, root):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    library = root / "speechbrain_ext"
    files = [path for suffix in ("py", "yaml", "typed") for path in library.rglob(f"*.{suffix}")]
    assert names == {str(path.relative_to(root)) for path in files}
    assert {"speechbrain_ext/py.typed", "speechbrain_ext/launch/ablations.yaml"} <= names


def test_wheel_says_what_it_is_and_what_it_needs(wheel, root):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = email.message_from_bytes(archive.read(next(name for name in names if name.endswith("/METADATA"))))
    assert about["Version"] == __version__
    assert about["License"] or about["License-Expression"]
    assert about["Requires-Python"] == ">=3.10" and "Typing :: Typed" in about.get_all("Classifier")
    assert set(about.get_all("Provides-Extra")) == {"demo", "ray", "web", "onnx", "test", "dev"}
    assert about.get_payload().strip() == (root / "README.md").read_text(encoding="utf-8").strip()
    # What `make demo` installs: the library's own needs, and a synthesizer of speech.
    plain = [line for line in about.get_all("Requires-Dist") if "extra ==" not in line]
    assert not [line for line in plain if line.startswith(("ray", "gradio", "onnx", "playwright", "pytest"))]
    demo = [line for line in about.get_all("Requires-Dist") if 'extra == "demo"' in line]
    assert [line.split(">=")[0] for line in demo] == ["espeakng-loader"]


@pytest.mark.parametrize("word, printed", [("--help", "commands:"), ("--version", f"speechbrain-ext {__version__}\n")])
def test_program_answers_at_once(installed, tmp_path, word, printed):
    done = python(installed, tmp_path, "-X", "importtime", "-m", "speechbrain_ext.commands.main", word)
    assert done.returncode == 0 and printed in done.stdout, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported and not {"torch", "numpy", "speechbrain", "rich", "psutil"} & imported


def test_console_script_is_the_same_program(installed, tmp_path):
    by_module = python(installed, tmp_path, "-m", "speechbrain_ext.commands.main", "--help")
    assert python(installed, tmp_path, installed / "bin" / "speechbrain-ext", "--help").stdout == by_module.stdout


def test_every_command_explains_itself(installed, tmp_path):
    code = (
        "import sys; from speechbrain_ext.commands.main import COMMANDS, main\n"
        "assert 'torch' not in sys.modules\n"
        "for name in COMMANDS:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit as ended: assert ended.code == 0, name\n"
    )
    done = python(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"usage: speechbrain-ext {name}" in done.stdout


RUN_EACH = """
import contextlib, io, json, sys
from speechbrain_ext.commands.main import main
done = {}
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(line)
    done[line[0]] = (status, out.getvalue(), err.getvalue())
print(json.dumps({"library": sys.modules["speechbrain_ext"].__file__, "done": done}))
"""


@pytest.fixture(scope="module")
def used(installed, tmp_path_factory):
    """Use what is installed in a folder of a user: (folder, command -> (exit status, standard output and error))."""
    folder = tmp_path_factory.mktemp("user")
    rows = ["id,wav,emo,speaker,group"]
    for i, emo in enumerate(("ang", "sad") * 2):
        soundfile.write(folder / f"{i}.wav", make_babble(0.5 + i / 4), 16000)
        rows.append(f"u{i},{i}.wav,{emo},s{i // 2},g{i // 2}")
    (folder / "corpus.csv").write_text("\n".join(rows))
    (folder / "empty").mkdir()
    make_bundle(folder / "bundle")
    lines = [
        ["check", "corpus.csv"],
        ["prepare", "corpus.csv", "manifest.json"],
        ["report", "empty"],
        ["export", "empty", "exported"],
        ["predict", "bundle", "0.wav"],
    ]
    ran = python(installed, folder, "-c", RUN_EACH, json.dumps(lines))  # one process: importing torch takes seconds
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["library"] == str(installed / "speechbrain_ext" / "__init__.py")
    return folder, said["done"]


def test_installed_check_and_prepare_read_a_corpus(used):
    folder, done = used
    status, out, err = done["check"]
    assert status == 0 and out.endswith("\nNothing is wrong.\n"), err
    assert "Lengths: 0.50 s (u0) to 1.25 s (u3), mean 0.88 s, median 0.88 s." in out
    status, out, err = done["prepare"]
    assert status == 0 and out.endswith("manifest.json holds 4 utterances.\n"), err
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert {utt_id: entry["emo"] for utt_id, entry in manifest.items()} == {
        "u0": "ang", "u1": "sad", "u2": "ang", "u3": "sad"
    }  # fmt: skip


def test_installed_predict_classifies_a_recording(used):
    status, out, err = used[1]["predict"]
    assert status == 0, err
    (row,) = csv.DictReader(out.splitlines())
    assert row["path"] == "0.wav" and row["error"] == "" and float(row["speech"]) > 0.4
    posteriors = {emo: float(row[emo]) for emo in EMOTIONS}
    assert sum(posteriors.values()) == pytest.approx(1, abs=1e-5)
    assert row["predicted"] == max(posteriors, key=posteriors.get)


@pytest.mark.parametrize(
    "command, sentence",
    [
        ("report", "no run below empty has been tested: there is no test_metrics.json."),
        ("export", "empty is no fold's folder: it has no hyperparams.yaml."),
    ],
)
def test_installed_command_refuses_an_empty_folder_in_a_sentence(used, command, sentence):
    status, out, err = used[1][command]
    assert (status, out) == (1, "") and err.startswith(f"speechbrain-ext {command}: {sentence}")
    assert err.count("\n") == 1


def test_every_room_module_and_public_name_is_there(installed, tmp_path):
    code = (
        "import importlib, pkgutil, speechbrain_ext\n"
        "print(speechbrain_ext.__file__)\n"
        "for found in pkgutil.walk_packages(speechbrain_ext.__path__, 'speechbrain_ext.'):\n"
        "    module = importlib.import_module(found.name)\n"
        "    for name in module.__all__ if found.ispkg and hasattr(module, '__all__') else []:\n"
        "        assert getattr(module, name) is not None, name\n"
        "        print(found.name, name)\n"
    )
    done = python(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    where, *names = done.stdout.splitlines()
    assert where == str(installed / "speechbrain_ext" / "__init__.py")
    assert {"speechbrain_ext.lobes TruncatedHuBERT", "speechbrain_ext.inference load_classifier"} <= set(names)
