"""Ten million ported numbers: lines a second, memory, growth of the store, what a look-up adds to a route's choice.

    volley bench ported [--rows N] [--json]
The file is in no order and one line in a thousand is wrong. Checked first: every number's network and every wrong line
is as it was written; the numbers of a block go where the reference sends them one by one.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.end_to_end import Report
from bench.harness import Figure, best_of, disk_figures, face
from config import Route
from dispatcher.routes.plan import Plan, Rule
from dispatcher.routes.ported import READ_OCTETS, Read, Reader, get_ported, ported_values, turn, write_all
from dispatcher.store import Store, open_store
from dispatcher.store.layout import BLOCK
from tests.reference import routes as reference

FIRST, APART = 4_915_100_000_000, 37
NETWORKS = 20
WRONG_EACH = 1_000
LINES_AT_ONCE = 100_000
CHECKED = 2_000
ROUNDS = 5
LOAD_LEAST = 1_000_000  # rows/s
STANDING = {1: 0.0, 2: 0.0}


def main(argv: Sequence[str]) -> int:
    parser = face("ported", __doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    options = parser.parse_args(argv)
    report = Report(options.json)
    draw = np.random.default_rng(3)
    numbers = FIRST + APART * draw.permutation(options.rows)
    of = draw.integers(0, NETWORKS, options.rows)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, file = Path(name), Path(name) / "ported.csv"
        wrong = _write(file, numbers, of)
        report.show(*disk_figures(folder))
        with open_store(folder / "data", write=True, create=True) as store:
            read = _load(report, store, file)
            report.check("each line has its entry or is told", (read.count, read.rejected) == (options.rows, wrong))
            _look_up(report, store, numbers, of, read)
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if report.wrong else 0


def _write(file: Path, numbers: np.ndarray, of: np.ndarray) -> int:
    """How many of its lines are wrong."""
    wrong = 0
    with file.open("w") as stream:
        stream.write("number,network\n")
        for at in range(0, len(numbers), LINES_AT_ONCE):
            some = zip(numbers[at : at + LINES_AT_ONCE].tolist(), of[at : at + LINES_AT_ONCE].tolist(), strict=True)
            lines = [f"{number},2620{network:02}\n" for number, network in some]
            bad = [f"00{line}{line}" for line in lines[::WRONG_EACH]]  # a line that is wrong, then the right one
            lines[::WRONG_EACH] = bad
            wrong += len(bad)
            stream.writelines(lines)
    return wrong


def _load(report: Report, store: Store, file: Path) -> Read:
    octets_before, anon_before = store.size_octets(), _anon_mb()
    began, cpu = time.perf_counter(), time.process_time()
    reader = Reader()
    for some in _pieces(file):
        reader.feed(some)
    read = reader.finish()
    read_s, read_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    anon = _anon_mb() - anon_before
    write_all(store, read.entries)
    with store.begin_write() as view:
        view.apply(turn(view, read.count, read.networks, file.name, 1, lines=read.lines, rejected=read.rejected))
    took_s = time.perf_counter() - began
    report.show(
        Figure.of("loaded, in use", round(read.lines / took_s), "rows/s", least=LOAD_LEAST),
        Figure("of these reading and sorting", round(read.lines / read_s), "rows/s"),
        Figure("CPU of reading and sorting", round(1e9 * read_cpu_s / read.lines), "ns a row"),
        Figure("memory when read", round(anon), "MB"),
        Figure("store grown by", round((store.size_octets() - octets_before) / read.count, 2), "octets a row"),
    )
    return read


def _look_up(report: Report, store: Store, numbers: np.ndarray, of: np.ndarray, read: Read) -> None:
    """A block whose numbers are all ported, one in which none is, and both without a table."""
    half = tuple(code for no, code in enumerate(sorted(read.networks)) if no % 2)
    rules = [
        Rule(Route(name="home", endpoints=("a",)), (((1, 1),),), "file"),
        Rule(Route(name="ported", endpoints=("b",), networks=half), (((2, 1),),), "file"),
    ]
    by_prefix = [rules[0], Rule(Route(name="49151", endpoints=("b",), prefixes=("49151",)), (((2, 1),),), "file")]
    everyone = bytearray(b"\xff" * (BLOCK // 8))
    block = np.resize(numbers, BLOCK).astype("<u8")
    others = block + np.uint64(1)
    with store.snapshot() as view:
        ported = get_ported(view)
        values = ported_values(view, ported.generation)
        asks, without = Plan(rules, STANDING, ported.networks), Plan(by_prefix, STANDING)
        shares = asks.split(block.tobytes(), bytearray(everyone), values)
        known = {int(n): f"2620{network:02}" for n, network in zip(numbers[:BLOCK], of[:BLOCK], strict=True)}
        for slot in random.Random(5).sample(range(BLOCK), CHECKED):
            number = int(block[slot])
            wanted = reference.endpoint_of(number, rules, STANDING, known)
            if not shares.of[wanted][slot >> 3] >> (slot & 7) & 1:
                report.check(f"{number} takes endpoint {wanted}", False)
        report.check("numbers take the endpoint of the reference", sum(map(_ones, shares.of.values())) == BLOCK)
        mine, foreign = block.tobytes(), others.tobytes()
        times = best_of(
            ROUNDS,
            lambda: without.split(mine, bytearray(everyone), []),
            lambda: asks.split(mine, bytearray(everyone), values),
            lambda: asks.split(foreign, bytearray(everyone), values),
        )
    names = ("by prefix, no table is asked", "the number is ported", "the number is not ported")
    for what, seconds in zip(names, times, strict=True):
        report.show(Figure(f"a route's choice: {what}", round(1e9 * seconds / BLOCK, 1), "ns a message"))


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while some := stream.read(READ_OCTETS):
            yield some


def _ones(bits: bytes | bytearray) -> int:
    return int.from_bytes(bits, "little").bit_count()


def _anon_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
