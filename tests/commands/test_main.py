"""The command's shell: help, unknown words, closed pipes, interrupts."""

import os
import re
import subprocess
import sys

import pytest

import speechbrain_ext
from speechbrain_ext.commands import main as cli
from speechbrain_ext.commands import predict as predict_command


def test_help_names_every_command_and_is_quick_to_make(root):
    code = (
        "import sys; from speechbrain_ext.commands import main as cli\n"
        "try: cli.main(['--help'])\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == 0
    for name, text in cli.COMMANDS.items():
        assert re.search(rf"\n    {name} +{re.escape(text)}\n", done.stdout)
    assert done.stdout.endswith("False\n")  # torch takes seconds


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_each_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: speechbrain-ext {name}" in printed


def test_no_command_imports_torch_for_its_help_or_a_wrong_option(root):
    code = """
import sys
from speechbrain_ext.commands import main as cli
for name in cli.COMMANDS:
    for words in ([name, "--help"], [name, "--no_such_option"], [name]):
        try:
            cli.main(words)
        except SystemExit:
            pass
        heavy = {"torch", "speechbrain", "scipy.stats", "matplotlib", "gradio"} & set(sys.modules)
        assert not heavy, (words, heavy)
"""
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    for name in cli.COMMANDS:
        assert f"usage: speechbrain-ext {name}" in done.stdout


@pytest.mark.parametrize("words", [[], ["predicts", "x"], ["predict"], ["predict", "--ou", "x"]])
def test_wrong_words_end_with_2_and_the_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage: speechbrain-ext" in capsys.readouterr().err


@pytest.mark.parametrize(
    "word, hint",
    [
        ("predicts", "'predicts' is no command. Did you mean predict?"),
        ("train", "'train' is no command. It must be one of prepare, check"),
    ],
)
def test_an_unknown_command_is_answered_with_the_near_one_or_all(word, hint, capsys):
    with pytest.raises(SystemExit):
        cli.main([word, "x"])
    assert hint in " ".join(capsys.readouterr().err.split())


def test_version_is_the_package_s(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"speechbrain-ext {speechbrain_ext.__version__}\n"


def test_a_script_has_its_own_name_and_adds_words(monkeypatch, capsys):
    monkeypatch.setattr(predict_command, "run", lambda options: print(options.bundle, options.recordings) or 0)
    assert cli.run_command("predict", ["a.wav"], "predict.py", fixed=["exported"]) == 0
    assert capsys.readouterr().out == "exported ['a.wav']\n"
    with pytest.raises(SystemExit):
        cli.run_command("predict", ["--help"], "predict.py")
    assert capsys.readouterr().out.startswith("usage: predict.py ")


@pytest.mark.parametrize(
    "error, status, text",
    [
        (KeyboardInterrupt(), 130, "speechbrain-ext predict: interrupted."),
        (PermissionError(13, "Permission denied", "out.csv"), 1, "out.csv is not yours to use: permission denied."),
    ],
)
def test_an_interrupt_or_a_refusing_disk_is_told_without_a_traceback(monkeypatch, capsys, error, status, text):
    def run(options):
        raise error

    monkeypatch.setattr(predict_command, "run", run)
    assert cli.main(["predict", "bundle", "file"]) == status
    assert text in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error(root):
    code = (
        "import sys; from speechbrain_ext.commands import main as cli, predict as predict_command\n"
        "predict_command.run = lambda options: [print('x' * 1000, flush=True) for _ in range(1000)] and 0\n"
        "sys.exit(cli.main(['predict', 'bundle', 'file']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(600) == 0
    assert process.stderr.read() == ""
