"""Kind `fuzz`: each reader of what comes from outside is given what was never written, and refuses it in words."""

import logging
import random
import resource
import signal
import time
import traceback
import zlib
from pathlib import Path

from speechbrain_ext.errors import InputError
from speechbrain_ext.storage import describe_fault
from tests.soak.fuzz_readers import Reader, make_readers
from tests.soak.outcome import Outcome

LIMIT_S = 4.0  # of the processor, for one case: a reader takes a thousandth of a second
SLICE_S = 0.05  # each reader in turn
MEMORY_BYTES = 3 * 2**30  # more than what the process holds already; who asks for it has found a fault
WORDS = [b"", b"\0", b"\xff", b"\n", b"\r\n", b",", b";", b'"', b"'", b"{", b"}", b"[", b"]", b":", b"null", b"true",
         b"NaN", b"1e999", b"-1", b"0", b"9" * 400, b"9" * 5000, b"[" * 2000, b'{"a":' * 2000, b"\\ud800", b"\\u0000",
         b"\xef\xbb\xbf", b"\xff\xfe", b"!!python/object/apply:os.getpid []", b"&a [*a]", b"<<: *a", b"{data_root}",
         b"../" * 9, b"\x7f\xff\xff\xff", b"\xff" * 8, b"data", b"a" * 3000, b"base: h.yaml\n", b"=", b"|"]  # fmt: skip


class TooSlow(Exception):
    """A case has used up its time."""


def too_slow(*_: object) -> None:
    """End a case."""
    raise TooSlow


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat, and put words in; several times over, now and then nothing but noise."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.randint(0, 60))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        start = rng.randint(0, len(data))
        stop = min(len(data), start + rng.choice((0, 1, 1, 2, 4, 8, 30)))
        how = rng.randrange(6)
        if how == 0 and start < len(data):
            data = data[:start] + bytes([data[start] ^ 1 << rng.randrange(8)]) + data[start + 1 :]
        elif how == 1:
            data = data[:start] + data[stop:]
        elif how == 2:
            data = data[:stop] + data[start:stop] * rng.choice((1, 2, 30)) + data[stop:]
        elif how == 3:
            data = data[:start]
        elif how == 4:
            data = data[:start] + rng.randbytes(stop - start) + data[stop:]
        else:
            data = data[:start] + rng.choice(WORDS) + data[stop:]
    return data


def try_case(reader: Reader, seed: int, number: int) -> str:
    """Give a reader its case of this number; return what went wrong, "" if nothing did."""
    rng = random.Random(zlib.crc32(f"{seed} {reader.name}".encode()) << 32 | number)
    data = mutate(rng.choice(reader.inputs), rng)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        reader.read(data, rng)
    except InputError as error:
        if not str(error):
            return f"refused without a word: {data[:300]!r}"
    except OSError as error:  # commands end with its sentence, where there is one
        return "" if describe_fault(error) else f"OSError: {error}; given {data[:200]!r}"
    except TooSlow:
        return f"hang: {data[:300]!r}"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
        return f"{where}: {str(error)[:300]}; given {data[:200]!r}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def run_fuzz(folder: Path, bundle: Path, fold: Path, seed: int, minutes: float, at_least: int = 0) -> Outcome:
    """Fuzz for some minutes, or until there were enough cases; run it in a process of its own."""
    outcome = Outcome("fuzz", "inputs that were never written, to the readers of what comes from outside")
    signal.signal(signal.SIGPROF, too_slow)
    logging.disable(logging.CRITICAL)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, resource.RLIM_INFINITY))
    readers = make_readers(folder, bundle, fold)
    counts, seen = dict.fromkeys((reader.name for reader in readers), 0), set()
    deadline, cpu_s = time.monotonic() + 60 * minutes, time.process_time()
    while time.monotonic() < deadline or outcome.n < at_least:
        for reader in readers:
            stop = time.monotonic() + SLICE_S
            while time.monotonic() < stop:
                counts[reader.name] += 1
                fault = try_case(reader, seed, counts[reader.name])
                if fault:
                    name = "hangs" if fault.startswith("hang") else "tracebacks"
                    place = (reader.name, fault.partition(": ")[0])
                    if place not in seen and len(seen) < 100:  # the same fault is told once, and counted always
                        seen.add(place)
                        outcome.found(name, f"SEED={seed}, {reader.name}, case {counts[reader.name]}: {fault}")
                    else:
                        setattr(outcome, name, getattr(outcome, name) + 1)
        outcome.n = sum(counts.values())
    each = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    cpu_s = time.process_time() - cpu_s
    outcome.notes.append(f"{outcome.n / cpu_s:,.0f} cases in a second of the processor; {each}")
    return outcome.close()
