"""Text from outside: what terminals obey is shown as escapes, wherever a program says it; the rest stays as it is."""

import contextlib
import csv
import io
import os
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile as sf
import tqdm
import yaml
from huggingface_hub import ModelCard

from recipes.IEMOCAP import train
from speechbrain_ext.commands.main import main
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.outside_text import PlainStream, escape_formula, printable, unescape_formula
from speechbrain_ext.training.run import end_in_a_sentence
from speechbrain_ext.web.answer import answer
from tests.babble import make_babble
from tests.recipes.fold_reading import results

# Sets the title, copies to the clipboard, opens a link, colours, overwrites the line, C1's CSI, an override of the
# direction, an isolate, a byte that is no UTF-8.
ATTACKS = [
    "\x1b]0;title\x07",
    "\x1b]52;c;aGk=\x07",
    "\x1b]8;;http://evil\x1b\\",
    "\x1b[31m",
    "\rover",
    "\x9b31m",
    "\u202egnp",
    "\u2066x",
    "\udcff",
]
OBEYED = {char for attack in ATTACKS for char in attack if not char.isprintable()}
# In many scripts, and with the marks of Markdown, HTML, YAML, CSV, spreadsheets, and paths.
LABELS = [
    "<script>alert(1)</script>",
    "a|b",
    "not\nhappy",
    "=1+1",
    "-m",
    "@at",
    '"q", \'s',
    "🙂 ok 👩‍🚒",
    "שלום",
    "نمی‌دانم",
    "ก็ดี",
    "..",
    "a/b",
    "!ref <emotions>",
    "null",
    "a: b # c",
    "[l](http://e) *b* `c` $d$",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_printable_leaves_nothing_that_a_terminal_obeys(attack):
    shown = printable(f"a{attack}b")
    assert shown.isascii() and shown.isprintable()
    assert len(shown) >= len(attack) + 3 * len(OBEYED & set(attack))


@pytest.mark.parametrize("text", ["نمی‌دانم", "👩‍🚒", "é", "a b\u3000c", "\\x1b"])
def test_printable_leaves_every_script_as_it_is(text):
    assert printable(text) == text


def test_printable_shows_what_has_no_width():
    assert printable("an\u200bna\ufeff\u200e") == r"an\u200bna\ufeff\u200e"


def test_plain_stream_keeps_lines_tabs_and_progress_bars():
    written = io.StringIO()
    stream = PlainStream(written)
    print("a\tb\x1b[2J\rc\n", file=stream)
    assert written.getvalue() == "a\tb\\x1b[2J\\rc\n\n"
    stream.writelines(["\x07"])
    assert written.getvalue().endswith("\n\\x07")
    bars = [io.StringIO(), io.StringIO()]
    for bar in (bars[0], PlainStream(bars[1])):
        list(tqdm.tqdm("ab", file=bar, bar_format="{n}|{bar:2}|", ascii=True, colour="green"))
    assert bars[0].getvalue() == bars[1].getvalue() and "\x1b[" in bars[0].getvalue()


def test_escape_formula_is_undone():
    for text in ("=1", "+1", "-1", "@x", "\t=1", "＝1", "'=1", "it's", ""):
        shown = escape_formula(text)
        assert not shown.startswith(tuple("=+-@\t＝"))
        assert unescape_formula(shown) == text


def run_program(words, **options):
    """Run a program; return what it writes as one text, in which bytes that are no UTF-8 stay."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(words, capture_output=True, env=environment, **options)
    return (done.stdout + done.stderr).decode("utf-8", "surrogateescape")


def test_a_file_s_name_makes_no_line_of_the_output(tmp_path, capsys):
    for ending in ("wav", "txt"):
        (tmp_path / f"x\ntrain.py: done.{ending}").touch()
    assert main(["timeline", "nowhere", str(tmp_path / "x\ntrain.py: done.wav")]) == 1
    assert main(["predict", "nowhere", str(tmp_path)]) == 1
    empty, passed_over, no_bundle = capsys.readouterr().err.splitlines()
    assert empty.endswith(f"{tmp_path}/x\\ntrain.py: done.wav is empty (0 bytes). Copy it again.")
    assert (
        passed_over.endswith("1 file passed over by their ending: x\\ntrain.py: done.txt.") and "nowhere" in no_bundle
    )


def test_programs_show_what_they_refuse_as_escapes(root, tmp_path, monkeypatch, capsys):
    """Words of the command line, a CSV's names and values, and what ends in a traceback."""
    monkeypatch.chdir(root)
    attack = "".join(ATTACKS).replace("\udcff", "")
    csv_file = tmp_path / "c.csv"
    csv_file.write_text(f'"wav","emo","speaker","{attack}"\n"{attack}.wav","sad{attack}","s{attack}","x"\n')
    fault = f"from speechbrain_ext.outside_text import guard_terminal\nguard_terminal()\n{{}}[{attack!r}]"
    command = [sys.executable, "-m", "speechbrain_ext.commands.main"]
    said = [
        run_program(words)
        for words in (
            [sys.executable, "train.py", "hparams/demo.yaml", f"--{attack}=1"],
            [sys.executable, "-c", fault],
            [*command, attack],
            [*command, "check", str(csv_file)],
        )
    ]
    capsys.readouterr()
    words = [f"--corpus_csv={csv_file}", "--data_folder=", f"--output_folder={tmp_path}"]
    assert end_in_a_sentence(train.main, ["hparams/demo.yaml", *words]) == 1
    for text in (*said, "".join(capsys.readouterr())):
        assert "\\x1b" in text and not OBEYED & set(text), ascii(text)


class Elements(HTMLParser):
    """Collects the names of all elements, and of their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found |= {tag, *(name for name, _ in attrs)}


def test_labels_of_any_kind_go_through(fit, tmp_path, capsys, monkeypatch):
    """From a CSV to training, report, bundle, card, predictions, and the page; each shows them as they are."""
    labels = ["not happy" if label == "not\nhappy" else label for label in LABELS]
    noise = np.random.default_rng(0).normal(size=(2, len(LABELS), 8000)) * 0.1
    rows = []
    for speaker in range(2):
        for i, label in enumerate(LABELS):
            sf.write(tmp_path / f"={speaker}_{i}.wav", noise[speaker, i], 16000)
            rows.append([f"<b>|{speaker},{i}", f"={speaker}_{i}.wav", label, f"<s>|{speaker}", f"<g>|{speaker}"])
    with open(tmp_path / "c.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "wav", "emo", "speaker", "group"], *rows])
    options = [f"--corpus_csv={tmp_path}/c.csv", "--fold=1", "--validation=none", "--number_of_epochs=1"]
    fold = fit("results/seed1/fold1", *options, data_folder=None)
    metrics, predictions = results(fold)
    assert metrics["emotions"] == sorted(labels)
    assert [row["true"] for row in sorted(predictions, key=lambda row: int(row["id"].split(",")[1]))] == labels

    assert main(["report", str(tmp_path / "results"), "--allow=incomplete", f"--out={tmp_path}/report"]) == 0
    html = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "&#60;g&#62;&#124;0" in html or "&lt;g&gt;|0" in html
    assert not {"script", "g", "b", "s"} & Elements(html).found

    assert main(["export", str(fold), str(tmp_path / "bundle")]) == 0
    with contextlib.suppress(OSError):  # file systems that have no such names
        fold.rename(tmp_path / "b\udcff")
        assert main(["export", str(tmp_path / "b\udcff"), str(tmp_path / "c\udcff")]) == 1
        assert "\\udcff" in (said := capsys.readouterr().err) and said.endswith("Rename it, or set a UTF-8 locale.\n")
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert ModelCard(card).data.eval_results[0].dataset_split == "<g>|0"
    assert "<script>" not in card and "&#60;script&#62;" in card
    table = [line for line in card.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(labels) and {line.count("|") for line in table} == {4}
    assert yaml.safe_load((tmp_path / "bundle" / "hyperparams.yaml").read_text().split("encoder:")[0])
    classifier = load_classifier(tmp_path / "bundle", {"device": "cpu"})
    assert classifier.hparams.emotions == sorted(labels)

    sf.write(tmp_path / "=\x1b[31m.wav", make_babble(1.0), 16000)
    out = tmp_path / "out.csv"
    words = ["predict", str(tmp_path / "bundle"), "=\x1b[31m.wav", f"--out={out}", "--device=cpu"]
    monkeypatch.chdir(tmp_path)
    for excel, other in ((["--excel"], []), ([], ["--excel"])):
        assert main([*words, *excel]) == 0
        header, row = csv.reader(out.read_text(encoding="utf-8").splitlines())
        assert any(cell.startswith(tuple("=+-@")) for cell in (*header, *row)) != bool(excel)
        assert [unescape_formula(cell) for cell in header[2 : 2 + len(labels)]] == sorted(labels)
        assert unescape_formula(row[0]) == "=\\x1b[31m.wav"
        capsys.readouterr()
        assert main([*words, *excel]) == 0 and "1 of 1 are in" in capsys.readouterr().err
        assert main([*words, *other]) == 1 and "holds other columns" in capsys.readouterr().err
        out.unlink()
    assert main([*words[:-2], "--out=a.json", "--excel"]) == 1
    assert "--excel writes .csv, and --out is 'a.json'. Leave one of them out." in capsys.readouterr().err

    shown = answer(classifier, str(tmp_path / "=\x1b[31m.wav"))
    assert not OBEYED & set(shown)
    assert not {"script", "g", "b", "s"} & Elements(shown).found and "&lt;script&gt;" in shown
