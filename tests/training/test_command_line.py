"""train.py's words: taken as they are meant, refused in a sentence, and answered before anything slow is imported."""

import os
import re
import subprocess
import sys

import pytest
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.run_opts import RunOptions

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.command_line import HOST_SWITCHES, HOST_VALUES, read_command_line
from speechbrain_ext.training.hparams_file import hparams_text, read_settings


@pytest.fixture
def demo(root):
    """Return the demo's YAML file."""
    return str(root / "hparams/demo.yaml")


def test_speechbrain_options_are_all_known():
    actions = [action for action in RunOptions._create_parser()._actions if action.dest != "help"]
    assert set(HOST_SWITCHES) == {action.dest for action in actions if action.option_strings and action.nargs == 0}
    assert set(HOST_VALUES) == {action.dest for action in actions if action.option_strings and action.nargs != 0}


def test_words_are_taken_apart(demo):
    line = read_command_line(
        ["--debug", "--seed=2", demo, "--fold", "3", "--device=cpu", "--lr=1e-3", "--precision=auto", "--fold=4"]
    )
    assert str(line.hparams_file) == demo
    assert line.overrides == {"seed": 2, "fold": 4, "lr": 0.001, "precision": "auto"}  # of two, the last
    assert line.host_words == ["--debug", "--device=cpu"]


PATHS = ["x/run #3", "a: b", "[x]", "{y}", "&anchor", "*alias", "123", "1e3", "yes", "a=b", "- x", "'q'", '"q"', "%x",
         "@x", "`x`", "!tag", "a  b", "~x", "(1, 2)", "$HOME", "ä ö/日本", "x\\y", "?", "| x", "# y"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_the_text_that_was_typed(demo, tmp_path, path):
    given = read_command_line([demo, f"--output_folder={path}", f"--corpus_csv={path}"]).overrides
    assert given == {"output_folder": path, "corpus_csv": path}
    text = "output_folder: null\ncorpus_csv: null\nlog: !ref <output_folder>/log.txt\n"
    (tmp_path / "small.yaml").write_text(text)
    loaded = load_hyperpyyaml(hparams_text(tmp_path / "small.yaml", {**given, "output_folder": f"/r/{path}"}))
    assert loaded == {"output_folder": f"/r/{path}", "corpus_csv": path, "log": f"/r/{path}/log.txt"}
    assert read_settings(tmp_path / "small.yaml", given)[0]["corpus_csv"] == path


def test_null_is_no_path(demo):
    given = read_command_line([demo, "--encoder_source=null", "--data_folder="]).overrides
    assert given == {"encoder_source": None, "data_folder": None}


def test_labels_are_texts_also_where_they_look_like_numbers(demo):
    assert read_command_line([demo, "--emotions=[01, 03, 08, true, no]"]).overrides["emotions"] == [
        "01", "03", "08", "true", "no"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no hyperparameter file was given: python train.py HPARAMS.yaml"),
        (["--fold=1"], "no hyperparameter file was given"),
        (["nowhere.yaml"], "nowhere.yaml does not exist. Give for instance hparams/loso.yaml"),
        (["{folder}"], "hparams is a folder. Give a hyperparameter file"),
        (["{demo}", "-fold=1"], "'-fold=1', which belongs to no option. Did you mean --fold=1"),
        (["{demo}", "fold=1"], "'fold=1', which belongs to no option. Did you mean --fold=1"),
        (["{demo}", "device=cpu"], "Did you mean --device=cpu"),
        (["{demo}", "hello"], "'hello', which belongs to no option. Write options as --key=value"),
        (["{demo}", "--fold"], "--fold has no value: write --fold=VALUE"),
        (["{demo}", "--seed", "--fold=1"], "--seed has no value"),
        (["{demo}", "--lamda_c=1"], "--lamda_c is unknown: .*demo.yaml has no such key. Did you mean --lambda_c"),
        (["{demo}", "--devise=cpu"], "--devise is unknown.*Did you mean --device"),
        (["{demo}", "--test_onli"], "Did you mean --test_only"),
        (["{demo}", "--debug=True"], "--debug takes no value, got '--debug=True'"),
        (["{demo}", "--emotions=[a"], r"the value of --emotions is no YAML: '\[a'"),
        (["{demo}", "--output_folder=a<seed>"], "output_folder must be a text without '<', '>' and line breaks"),
    ],
)
def test_words_that_mean_nothing_are_refused(demo, root, words, message):
    words = [word.format(demo=demo, folder=root / "hparams") for word in words]
    with pytest.raises(InputError, match=message):
        read_command_line(words)


@pytest.fixture
def run_train(root, tmp_path):
    """Return a function that runs train.py; it tells the status, the outputs and the modules that were imported."""
    watch = "import sys, runpy; sys.argv = sys.argv[1:]\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    watch += "finally: print('torch' in sys.modules, file=sys.stderr)"

    def run(*words):
        env = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [sys.executable, "-c", watch, str(root / "train.py"), *words],
            capture_output=True, text=True, cwd=tmp_path, env=env,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--flod=1", "train.py: --flod is unknown: .*Did you mean --fold"),
        ("--corpus=emodeb", "train.py: corpus must be one of"),
        ("--validation=loso", "train.py: validation must be one of random, group, speaker, none, got 'loso'"),
        ("--lr=fast", "train.py: lr must be a number"),
    ],
)
def test_a_typo_is_answered_before_anything_slow_is_imported(run_train, demo, word, message):
    status, _, said = run_train(demo, word)
    assert status == 1
    assert re.search(message, said) and "Traceback" not in said
    assert "False" in said.splitlines()  # torch, which takes seconds, was not imported


def test_without_words_it_says_what_it_is_for(run_train):
    status, printed, said = run_train()
    assert status == 2
    assert "python train.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --fold=1" in printed
    assert "False" in said  # torch was not imported


def test_help_shows_the_keys_with_their_comments_before_speechbrains_options(run_train, demo):
    status, printed, _ = run_train(demo, "--help")
    assert status == 0
    assert "mixup_prob: 0.3" in printed and "# per clip; the partner comes from the whole training set" in printed
    assert printed.index("mixup_prob") < printed.index("SpeechBrain's own options") < printed.index("--ckpt_interval")
    assert "!new:speechbrain_ext.lobes" not in printed
