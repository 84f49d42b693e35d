"""The pages: links lead somewhere, commands exist with the options that are shown, and the README's example runs."""

import argparse
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import ruamel.yaml
import transformers

from speechbrain_ext import __version__
from speechbrain_ext.commands.main import COMMANDS
from speechbrain_ext.corpora import CORPORA, get_corpus
from tests.tiny_hubert import SMALL

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path for folder in (".", ".github", "benchmarks", "docs", "recipes") for path in ROOT.glob(f"{folder}/*.md")
)
PAGES += sorted(ROOT.glob("recipes/*/*.md"))
SCRIPTS = {
    "iemocap_prepare.py": "prepare",
    "run_loso.py": "run",
    "report.py": "report",
    "ablations.py": "ablations",
    "export.py": "export",
}
# SpeechBrain's own, and what torchrun and make add.
RUN_OPTIONS = {
    *("device", "precision", "eval_precision", "debug", "test_only", "noprogressbar", "max_grad_norm"),
    *("ckpt_interval_minutes", "distributed_backend", "data_parallel_backend"),
}


@pytest.fixture(scope="module")
def yaml_keys():
    """Read the keys that are options of train.py."""
    return set(ruamel.yaml.YAML().load((ROOT / "hparams" / "loso.yaml").read_text(encoding="utf-8")))


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, *languages):
    """Find the fenced blocks in one of the languages ("" is a block without any)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def command_lines(page):
    """Split the commands of a page's blocks and of its texts in backquotes into words."""
    indented = re.findall(
        r"^    ((?:OMP_NUM_THREADS=\d )?(?:python|speechbrain-ext) .*)$", page.read_text(), re.MULTILINE
    )
    inline = re.findall(r"`((?:python|speechbrain-ext|torchrun|make) [^`\n]*)`", page.read_text(encoding="utf-8"))
    lines = [line for text in blocks(page, "", "bash", "shell") for line in text.replace("\\\n", " ").splitlines()]
    for line in [*lines, *indented, *inline]:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # no command: an apostrophe of a sentence
            continue
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if words:
            yield words


def test_there_are_pages():
    assert {"README.md", "docs/README.md", "recipes/IEMOCAP/README.md"} <= set(map(name_of, PAGES))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_local_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"(https?|mailto):", target):
            file, _, anchor = target.partition("#")
            place = page.parent / file if file else page
            assert place.exists(), target
            assert not anchor or anchor in anchors(place), target


def anchors(page):
    """Make the anchors of a page's headings as GitHub does."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page, yaml_keys):
    for words in command_lines(page):
        line = " ".join(words)
        program, rest = words[0], words[1:]
        if program == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert set(word for word in rest if "=" not in word) <= set(targets), line
        scripts = [word for word in rest if word.endswith(".py") and program in ("python", "torchrun")][:1]
        for script in scripts:
            assert (ROOT / script).is_file() or script.startswith(("path/", "/", "<")), line
        for word in rest:
            if word.startswith("hparams/") and word.endswith(".yaml"):
                assert (ROOT / word).is_file(), line
        options = {word[2:].split("=")[0] for word in rest if word.startswith("--") and len(word) > 2}
        if program == "speechbrain-ext" and rest[0] not in ("COMMAND", "--help", "--version", "X"):
            assert rest[0] in COMMANDS, line
            assert options <= options_of(rest[0], yaml_keys), line
        elif scripts and Path(scripts[0]).name in SCRIPTS:
            assert options <= options_of(SCRIPTS[Path(scripts[0]).name], yaml_keys), line
        elif scripts == ["train.py"]:
            given = (
                options
                if program == "python"
                else {word for word in options if f"--{word}" not in line.split("train.py")[0]}
            )
            assert given <= yaml_keys | RUN_OPTIONS | {"help"}, line


def options_of(command, yaml_keys):
    """Return the long options of a command; those of train.py as well, where it hands them on."""
    module = importlib.import_module(f"speechbrain_ext.commands.{command}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    own = {text[2:] for text in parser._option_string_actions if text.startswith("--")}
    return own | (yaml_keys | RUN_OPTIONS if hasattr(module, "read_options") else set())


def test_readme_example_runs_as_written(tmp_path):
    """Only the encoder's source is another one: a small model in a folder, for there is no network."""
    readme = ROOT / "README.md"
    (yaml,), (python,) = blocks(readme, "yaml"), blocks(readme, "python")
    config = transformers.HubertConfig(**{**SMALL, "num_hidden_layers": 12})
    transformers.HubertModel(config).save_pretrained(tmp_path / "hubert")
    (tmp_path / "hubert" / "preprocessor_config.json").write_text('{"feature_size": 1, "sampling_rate": 16000}')
    assert yaml.count("facebook/hubert-large-ll60k") == 1
    (tmp_path / "parts.yaml").write_text(yaml.replace("facebook/hubert-large-ll60k", "hubert"))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", python], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "train_loss=" in done.stderr  # SpeechBrain's progress bar


def test_readme_is_short_and_names_the_command_that_everybody_wants():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert "\npython train.py hparams/loso.yaml --fold=1\n" in text


def test_every_topic_has_a_page_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == {path.name for path in ROOT.glob("docs/*.md")} - {
        "README.md"
    }


def test_citation_and_changelog_are_of_this_version():
    citation = ruamel.yaml.YAML(typ="safe").load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog and set(re.findall(r"^### (.*)$", changelog, re.MULTILINE)) <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"),
    }


PUBLISHED = [name for name in CORPORA if name not in ("synthetic", "csv")]


def table_below(page, heading):
    """Read the first table below a heading: its rows, each a list of cells without backquotes."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_table_of_corpora_is_the_registry():
    rows = {row[0]: row for row in table_below("corpora.md", "Published corpora")}
    assert sorted(rows) == sorted(PUBLISHED)
    for name, row in rows.items():
        corpus = get_corpus(name)
        assert row[4] == ", ".join(corpus.emotions), name
        assert (ROOT / "docs" / re.search(r"\((.*)\)", row[6])[1]).is_file() and f"[{corpus.title}]" in row[6], name
        counts = getattr(corpus.part_counts.get(corpus.part, corpus.compare), "emotions", None)
        assert counts is None or row[3] == str(sum(counts.values())), name


def test_table_of_labels_is_the_vocabulary_of_all_corpora():
    labels = {row[0] for row in table_below("corpora.md", "What emotions are called")}
    assert labels == {"exc", "fru", "oth", "xxx"} | {emo for name in PUBLISHED for emo in get_corpus(name).emotions}


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "iemocap"])
def test_recipe_says_what_the_registry_knows(name):
    corpus = get_corpus(name)
    text = (ROOT / "recipes" / corpus.title / "README.md").read_text(encoding="utf-8")
    plain = " ".join(text.split())
    for known in (corpus.licence, corpus.source, corpus.complete, corpus.speaker, ", ".join(corpus.emotions)):
        assert known in plain
    assert f"--corpus={name} --data_folder=" in text and f"`{name.upper()}_ROOT`" in text
    for part in ("Commands", "Folds", "Results"):
        assert f"\n## {part}\n" in text
