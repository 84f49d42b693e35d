"""Damage to files: what a disk, a copy that stopped, another program or another version may leave in a file's place."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

DEPTH = 10_000
WRONG_VALUES = (  # as JSON and, all but the last two, as YAML
    "null",
    "true",
    '"a text"',
    "[]",
    "{}",
    "[[1]]",
    '{"a": {"b": null}}',
    "-1",
    "1.5",
    "1e999",
    f"1{'0' * 400}",
    '"\\u0000\\u001b[2J"',
    '"\\ud800"',
    "NaN",
    "-Infinity",
)


def damaged_copies(path: str | Path, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield what may stand in a file's place, each with what kind of damage it is.

    Arguments
    ---------
    path
        The whole file. JSON objects and lists also get values of wrong types, one key after the other; YAML gets them
        in its first-level keys; tables lose cells and columns.
    rng
        Draws where and what.
    """
    data = Path(path).read_bytes()
    place = rng.randrange(max(len(data), 1))
    yield "empty", b""
    yield "cut in half", data[: len(data) // 2]
    yield "cut anywhere", data[:place]
    yield "zeros", bytes(len(data))
    yield "zeros at its end", data[:place] + bytes(len(data) - place)
    yield "a NUL byte", data[:place] + b"\0" + data[place:]
    yield "not UTF-8", data[:place] + b"\xff\xfe\x80" + data[place:]
    yield "another encoding", data.decode("utf-8", "replace").encode("utf-16")
    yield "random bytes", rng.randbytes(200)
    yield "a list", b"[1, 2, 3]\n"
    yield "a text", b'"a text"\n'
    yield "a number", b"1e999\n"
    yield "null", b"null\n"
    yield "an empty object", b"{}\n"
    yield "written twice", data + data
    yield "nested lists", b"[" * DEPTH + b"]" * DEPTH
    yield "nested objects", b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    yield "nested lists in an object", b'{"a":' + b"[" * DEPTH + b"]" * DEPTH + b"}"
    yield "nested keys", b"? " * 40 + b"x\n"
    yield "nested mappings as keys", b"{" * 40 + b"x" + b"}" * 40
    yield "an alias bomb", _alias_bomb()
    if data:
        flipped = bytes([data[place] ^ 1 << rng.randrange(8)])
        yield "one bit flipped", data[:place] + flipped + data[place + 1 :]
    yield from _of_wrong_types(Path(path), data, rng)


def put_damage_in_place(path: str | Path, rng: random.Random) -> Iterator[str]:
    """Put each damage in the file's place in turn, also nothing, a pipe and a folder; the whole one comes back.

    Yields
    ------
    str
        What kind of damage is in place now.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        for kind, damaged in [*damaged_copies(path, rng)]:
            path.write_bytes(damaged)
            yield kind
        path.unlink()
        yield "missing"
        os.mkfifo(path)
        yield "a named pipe"
        path.unlink()
        path.mkdir()
        yield "a folder"
    finally:
        if path.is_dir():
            path.rmdir()
        elif not path.is_file():
            path.unlink(missing_ok=True)
        path.write_bytes(data)


def _alias_bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return "\n".join(lines).encode()


def _of_wrong_types(path: Path, data: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    if path.suffix == ".json":
        whole = json.loads(data)
        for place in _places(whole):
            value = rng.choice(WRONG_VALUES)
            yield f"{value[:20]} at {place}", _replaced(whole, place, value)
            yield f"nothing at {place}", _replaced(whole, place, None)
    elif path.suffix in (".yaml", ".yml"):
        lines = data.decode().splitlines()
        for i, line in enumerate(lines):
            key, colon, _ = line.partition(":")
            if colon and key.isidentifier():
                value = rng.choice(WRONG_VALUES[:-2])
                yield f"{value[:20]} at {key}", "\n".join([*lines[:i], f"{key}: {value}", *lines[i + 1 :]]).encode()
                yield f"nothing at {key}", "\n".join([*lines[:i], *lines[i + 1 :]]).encode()
    elif path.suffix == ".csv":
        rows = [line.split(",") for line in data.decode().splitlines()]
        for column in range(len(rows[0])):
            yield f"no column {column + 1}", _table(row[:column] + row[column + 1 :] for row in rows)
            i = rng.randrange(1, max(len(rows), 2))
            cell = rng.choice(["", "nan", "1e999", "a text", "\x1b[2J", '"open'])
            changed = [
                [*row[:column], cell, *row[column + 1 :]] if number == i else row for number, row in enumerate(rows)
            ]
            yield f"{cell!r} in column {column + 1}", _table(changed)
        yield "a cell too many", _table([*rows, [*rows[-1], "more"]])
        yield "a cell of a megabyte", _table([*rows, ["x" * 1_000_000]])


def _places(whole: object) -> list[tuple]:
    """List the places of values: those of an object or a list, and those within the first of its values."""
    items = (
        list(whole.items()) if isinstance(whole, dict) else list(enumerate(whole)) if isinstance(whole, list) else []
    )
    places = [(key,) for key, _ in items[:40]]
    for key, value in items[:40]:
        if isinstance(value, dict | list) and value:
            first = next(iter(value)) if isinstance(value, dict) else 0
            places.append((key, first))
    return places


def _replaced(whole: object, place: tuple, value: Optional[str]) -> bytes:
    """Write JSON with another value at one place, as text that no JSON writer would write; None leaves it out."""
    mark = "a value to be replaced"
    copy = json.loads(json.dumps(whole))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    if value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = mark
    return json.dumps(copy, indent=1).replace(f'"{mark}"', value or "").encode()


def _table(rows: object) -> bytes:
    return "".join(",".join(row) + "\n" for row in rows).encode()
