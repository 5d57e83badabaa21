"""Segments against DuckDB and Polars on the same members: equal counts and ids, then times and ratios.

Touches: a store of ours in a temporary folder, made from a fixed seed and removed again.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import segments_csv
from bench import segments_members as made
from bench.harness import best_of, print_figures
from bench.segments_expand import figures as of_expansion
from bench.segments_http import figures as of_http
from bench.segments_live import figures as of_life
from bench.segments_live import warmed
from bench.segments_peers import DuckDB, Polars
from dispatcher.fastmatch import use_isa
from dispatcher.segments.count import matched
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import member_numbers
from dispatcher.store import Store, open_store

ROUNDS = 7


@click.command("segments")
@click.option("--members", default=1_000_000, show_default=True, help="How many to make.")
@click.option("--threads", default=1, show_default=True, help="For all three.")
@click.option("--rounds", default=ROUNDS, show_default=True, help="Taken in turn; the best of each is printed.")
@click.option("--cpu", is_flag=True, help="Processor time instead of the clock's: for a machine that is shared.")
@click.option("--isa", default=None, help="Match with avx512, avx2 or plain instead of the best there is.")
@click.option("--json", "as_json", is_flag=True, help="One line each: segment, what, threads, members, times, equal.")
@click.option("--csv", "path", type=click.Path(path_type=Path, exists=True), help="These members instead of made ones.")
@click.option("--expr", "texts", multiple=True, help="With --csv: an expression to ask; again for more.")
@click.option("--live", is_flag=True, help="Instead: sizes, first count, waterfall, updates; 100 M members reckoned.")
@click.option("--expand", is_flag=True, help="Instead: what a campaign reads of the matched, members a second.")
@click.option("--http", is_flag=True, help="Instead: counts over HTTP as one types, while a broadcast runs.")
@click.option("--keep", type=click.Path(path_type=Path), help="Make the store here, or use the one that is here.")
def command(
    members: int,
    threads: int,
    rounds: int,
    cpu: bool,
    isa: str | None,
    as_json: bool,
    path: Path | None,
    texts: tuple[str, ...],
    live: bool,
    expand: bool,
    http: bool,
    keep: Path | None,
) -> int:
    """Examples: `volley bench segments --members 10000000`, `... --json`, `... --isa avx2`, `... --live`,
    `... --expand`, `... --http`;

    `volley bench segments --csv people.csv --expr 'city = "Bonn" and age > 30'`.
    """
    if (path is None) != (not texts):
        raise click.UsageError("--csv FILE and --expr TEXT belong together")
    if isa:
        use_isa(isa)
    folder = keep or Path(tempfile.mkdtemp(prefix="volley-segments-"))
    if live or expand or http:
        found = (
            of_http(folder, members, rounds)
            if http
            else of_expansion(folder, members)
            if expand
            else of_life(folder, members)
        )
        try:
            seen = []
            for figure in found:
                print_figures([figure], as_json)
                seen.append(figure)
            return 0 if all(figure.ok is not False for figure in seen) else 1
        finally:
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)
    try:
        peers: list[Any] = [DuckDB(threads), Polars(threads)]
    except ModuleNotFoundError as exc:
        raise click.ClickException(f"{exc.name} is of the extra: pip install 'volley[bench]'") from exc
    asked = made.SEGMENTS
    try:
        if path is not None:
            folder, keep = Path(tempfile.mkdtemp(prefix="volley-segments-")), None
        with (
            open_or_make(folder, members, peers, as_json)
            if path is None
            else open_store(folder, write=True, create=True, sync=False) as store
        ):
            if path is not None:
                asked, members = from_csv(store, path, texts, peers)
            ok = compare(store, peers, asked, members, threads, rounds, as_json, cpu)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if ok else 1


def open_or_make(folder: Path, members: int, peers: list[Any], quiet: bool) -> Store:
    """The store with its members, and the same members in the peers."""
    fresh = not (folder / "store").exists()
    began = time.perf_counter()
    store = open_store(folder, write=True, create=True, sync=False)
    if fresh:
        made.define(store, members)
    first = 0
    for part in made.parts(members):
        if fresh:
            made.fill(store, first, part, members)
        for peer in peers:
            peer.add(part)
        first += len(part["id"])
    if not quiet:
        click.echo(f"{members:,} members made and loaded in {time.perf_counter() - began:.1f} s")
    return store


def from_csv(
    store: Store, path: Path, texts: tuple[str, ...], peers: list[Any]
) -> tuple[dict[str, tuple[str, str]], int]:
    """What `compare` is asked, of a file's rows; and how many there are."""
    arrays = segments_csv.load(store, path)
    for peer in peers:
        peer.add(arrays)
    asked = {}
    with store.snapshot() as view:
        for text in texts:
            test = compile_text(view, made.TENANT, text, as_of_ms=made.AS_OF_MS).test
            asked[text] = text, segments_csv.sql(test)
    return asked, len(arrays["id"])


def compare(
    store: Store,
    peers: list[Any],
    asked: dict[str, tuple[str, str]],
    members: int,
    threads: int,
    rounds: int,
    as_json: bool,
    cpu: bool,
) -> bool:
    ratios: dict[tuple[str, str], list[float]] = {}
    ok = True
    for segment, (text, sql) in asked.items():
        for what in ("count", "ids"):
            ours, theirs = _questions(store, peers, text, sql, what, threads)
            warmed(store, ours)
            answers = [_plain(each()) for each in (ours, *theirs)]
            equal = all(
                np.array_equal(np.atleast_1d(answers[0]), np.sort(np.atleast_1d(other))) for other in answers[1:]
            )
            ok &= equal
            times = [
                1e3 * s for s in best_of(rounds, ours, *theirs, clock=time.process_time if cpu else time.perf_counter)
            ]
            found = int(answers[0] if what == "count" else len(answers[0]))
            for peer, ms in zip(peers, times[1:], strict=True):
                ratios.setdefault((what, peer.name), []).append(ms / times[0])
            line: dict[str, Any] = {
                "segment": segment,
                "what": what,
                "threads": threads,
                "members": members,
                "matched": found,
            }
            line |= {"volley_ms": round(times[0], 3)}
            line |= {f"{peer.name}_ms": round(ms, 3) for peer, ms in zip(peers, times[1:], strict=True)}
            _show({**line, "equal": equal}, as_json)
    if not as_json:
        for (what, peer), each in ratios.items():
            mean = math.exp(sum(map(math.log, each)) / len(each))
            click.echo(f"{what:6} geometric mean {mean:6.1f} x {peer} (least {min(each):.1f})")
    return ok


def _questions(
    store: Store, peers: list[Any], text: str, sql: str, what: str, threads: int
) -> tuple[Callable[[], Any], list[Callable[[], Any]]]:
    def ours() -> Any:
        with store.snapshot() as view:
            compiled = compile_text(view, made.TENANT, text, as_of_ms=made.AS_OF_MS)
            answer = matched if what == "count" else member_numbers
            return answer(view, made.TENANT, compiled, threads=threads)

    return ours, [lambda peer=peer: getattr(peer, what)(sql) for peer in peers]  # type: ignore[misc]


def _plain(answer: Any) -> Any:
    return np.frombuffer(answer, "u4") if isinstance(answer, array) else answer


def _show(line: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(line))
        return
    times = "  ".join(f"{name[:-3]} {value:8.2f} ms" for name, value in line.items() if name.endswith("_ms"))
    same = "equal" if line["equal"] else "DIFFERENT"
    click.echo(f"{line['segment']} {line['what']:5} {line['matched']:>10,} of {line['members']:,}  {times}  {same}")


def main(argv: Sequence[str]) -> int:
    return int(command.main(list(argv), prog_name="volley bench segments", standalone_mode=False) or 0)


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
