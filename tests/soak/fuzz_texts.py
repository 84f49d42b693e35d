"""What is fuzzed besides files: names that are read, texts from outside that are written, and requests to the page."""

import asyncio
import csv
import io
import random
import re

from speechbrain_ext.corpora.base import CORPORA
from speechbrain_ext.corpora.fold_names import ListPlace, name_folds
from speechbrain_ext.corpora.known_names import describe_name
from speechbrain_ext.inference.prediction_file import format_predictions
from speechbrain_ext.inference.recordings import Prediction
from speechbrain_ext.outside_text import escape_markdown
from speechbrain_ext.results.markdown_text import table
from speechbrain_ext.web.answer import format_error, format_prediction
from speechbrain_ext.web.guard import PageGuard, own_hosts

EMOTIONS = ["ang", "sad"]
TEXTS = 'a \x1b[2J <b>x</b> \u202e \ud800 =1+1 | " , ` é 喜 \0 &#'.split(" ") + ["a\nb", "\r"]
HOSTS = "127.0.0.1 localhost evil.example 127.0.0.1.evil.example [::1] LOCALHOST @ :7860 // \\".split()
OWN_HOST = re.compile(r"(?i)([^/?#]*@)?(127\.0\.0\.1|localhost)([:/?#\\].*)?", re.DOTALL)


def read_name(data: bytes, rng: random.Random) -> None:
    describe_name(rng.choice(list(CORPORA)), data.decode("latin-1"))


def read_fold_names(data: bytes, rng: random.Random) -> None:
    parts = ("train", "valid", "test", "")
    name_folds([ListPlace(data.decode("latin-1")[k:], rng.choice(parts)) for k in range(rng.randint(1, 4))])


def make_text(rng: random.Random) -> str:
    return "".join(rng.choices(TEXTS, k=rng.randint(0, 5)))


def write_csv(_: bytes, rng: random.Random) -> None:
    """Predictions of any names come back out of the CSV as they went in, but for what no text file can hold."""
    rows = [Prediction(make_text(rng), error=f"e{make_text(rng)}".replace("\ud800", "")) for _ in range(3)]
    text = format_predictions(rows, EMOTIONS, "m", ".csv")
    back = [row["path"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    if len(back) != len(rows) or text.encode().decode() != text:
        raise AssertionError(f"{rows} became {text!r}")


def write_markdown(_: bytes, rng: random.Random) -> None:
    """A table of any texts has its rows and columns, and no mark of Markdown that is not its own."""
    cells = [[make_text(rng) for _ in range(3)] for _ in range(2)]
    lines = table(["a", "b", "c"], escape_markdown(cells)).split("\n")
    if len(lines) != 4 or any(line.count("|") != 4 or "<" in line or "`" in line for line in lines):
        raise AssertionError(f"{cells} became {lines}")


def write_html(_: bytes, rng: random.Random) -> None:
    """No text from outside becomes a tag."""
    emotions = [f"{word}{make_text(rng)}".replace("\ud800", "") for word in ("a", "b")]
    prediction = Prediction(f"x{make_text(rng)}.wav".replace("\ud800", ""), 1.0, emotions[0], (0.6, 0.4), None, 1.0)
    for page in (format_error(make_text(rng)), format_prediction(prediction, emotions)):
        if "<b>" in page:
            raise AssertionError(page)


async def _behind(scope, receive, send) -> None:
    scope["passed"] = True


async def _nothing(*_) -> None:
    return None


GUARD = PageGuard(_behind, own_hosts("127.0.0.1"), "/nonexistent", 1000)


def ask_page(_: bytes, rng: random.Random) -> None:
    """Whoever is let through asked for one of the page's own names, and comes from the same origin."""
    host, origin = "".join(rng.choices(HOSTS, k=rng.randint(1, 3))), rng.choice(["", "http://", "null", "http://@"])
    origin += rng.choice([host, *HOSTS]) if origin.startswith("http") else ""
    scope = {"type": "http", "path": "/", "headers": [(b"host", host.encode()), (b"origin", origin.encode())]}
    asyncio_run(GUARD(scope, _nothing, _nothing))
    if scope.get("passed") and not OWN_HOST.fullmatch(host):
        raise AssertionError(f"{host!r} was answered")
    if scope.get("passed") and origin and not origin.lower().endswith(host.lower()):
        raise AssertionError(f"{host!r} was answered to {origin!r}")


def asyncio_run(coroutine) -> None:
    """Drive a coroutine that never waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    asyncio.run(coroutine)
