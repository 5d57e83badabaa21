"""The table of ported numbers: number -> network, 10 M entries and more, loaded whole from lines, turned back by undo.

Touches: tables `ported` and meta `ported`, `ported_wrong`. Rests on: _ported.pyx, which reads lines; _choose.pyx, which
looks numbers up in the values as they lie.

    ported: generation:4 first:8 -> u64 (number << 14 | index of its network), ascending, at most 65,536 a value

A load writes a generation of its own in slices and then turns to it in one commit. The one before stays for undo, which
turns back (and again forth); what is older is deleted in slices.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from mmap import mmap
from typing import Any

from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.store import Store
from dispatcher.store.values import pack, unpack

try:
    from dispatcher.routes._ported import PortedLines
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel routes/_ported is not built: run `make build`") from exc

ENTRIES_A_VALUE = 1 << 16
VALUES_A_SLICE = 6  # 3 MiB a commit
READ_OCTETS = 1 << 20
WRONG_KEPT = 1_000  # lines that are shown; all are counted
NETWORK_BITS = 14
RULES = {  # _ported.pyx: what is wrong with a line -> field, rule
    2: ("number", "7 to 15 digits with the country's, not beginning with 0"),
    3: ("network", "number,network: the network's code is missing"),
    4: ("network", "a code of 1 to 16 octets"),
    5: ("network", f"at most {1 << NETWORK_BITS:,} networks"),
}
_KEY = struct.Struct(">IQ")
_GENERATION = struct.Struct(">I")
_ROW, _WRONG = b"ported", b"ported_wrong"


@dataclass(frozen=True, slots=True)
class Ported:
    """What is loaded."""

    generation: int = 0  # 0: nothing
    count: int = 0
    networks: tuple[str, ...] = ()
    at_ms: int = 0
    file: str = ""
    lines: int = 0  # of the file
    rejected: int = 0  # of those

    def as_json(self) -> dict[str, Any]:
        """As API and command line show it."""
        return {
            "file": self.file,
            "at_ms": self.at_ms,
            "count": self.count,
            "networks": len(self.networks),
            "lines": self.lines,
            "rejected": self.rejected,
        }


@dataclass(frozen=True, slots=True)
class Wrong:
    """A line that could not be read."""

    line: int
    field: str
    value: str
    rule: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field} {self.value!r}: {self.rule}"


@dataclass(slots=True)
class Read:
    """A file's entries in order, and its lines that could not be read: all counted, the first WRONG_KEPT kept."""

    entries: bytearray
    networks: list[str]
    lines: int
    rejected: int
    wrong: list[Wrong]

    @property
    def count(self) -> int:
        return len(self.entries) // 8

    def as_json(self, file: str) -> dict[str, Any]:
        """As Ported.as_json, and the wrong lines with the file's name."""
        told = Ported(0, self.count, tuple(self.networks), 0, file, self.lines, self.rejected).as_json()
        del told["at_ms"]
        return told | {"wrong": [{"file": file, **asdict(one)} for one in self.wrong]}


class Reader:
    """A file in pieces of any size, 16 octets of memory an entry. `lines` and `rejected` tell how far it is."""

    def __init__(self) -> None:
        self._kernel = PortedLines(WRONG_KEPT)
        self.octets = 0

    def __repr__(self) -> str:
        return f"<Reader {self.octets:,} octets, {self.lines:,} lines, {self.rejected:,} rejected>"

    @property
    def lines(self) -> int:
        return self._kernel.lines

    @property
    def rejected(self) -> int:
        return self._kernel.rejected

    def feed(self, octets: bytes) -> None:
        """Its next octets; the GIL is released. Raises CommandRefused 422 where they are no lines."""
        self.octets += len(octets)
        try:
            self._kernel.feed(octets)
        except ValueError as exc:
            raise CommandRefused(422, "no_lines", f"{exc}: the file is to have lines of number,network") from None

    def finish(self) -> Read:
        """Once, when all was fed. Raises CommandRefused 422 when there is no line that could be read."""
        entries = self._kernel.finish()
        wrong = [
            Wrong(line, RULES[what][0], (number if what == 2 else code).decode("utf-8", "replace"), RULES[what][1])
            for line, what, number, code in self._kernel.wrong
        ]
        read = Read(entries, [_name(code) for code in self._kernel.networks], self.lines, self.rejected, wrong)
        if not read.count:
            why = f"; {wrong[0]}" if wrong else ""
            raise CommandRefused(422, "no_lines", f"none of {read.lines:,} lines is number,network{why}")
        return read


def read_ported(octets: Iterable[bytes]) -> Read:
    """Lines `number,network`; a first line without digits is a header. Raises CommandRefused."""
    reader = Reader()
    for some in octets:
        reader.feed(some)
    return reader.finish()


def get_ported(view: View) -> Ported:
    """The table in use."""
    return _ported(_rows(view)[0])


def before_ported(view: View) -> Ported | None:
    """What undo turns back to; None when there is nothing to undo."""
    before = _rows(view)[1]
    return None if before is None else _ported(before)


def wrong_lines(view: View) -> list[Wrong]:
    """Of the file in use, the first WRONG_KEPT."""
    row = view.get("meta", _WRONG + _GENERATION.pack(get_ported(view).generation))
    return [] if row is None else [Wrong(*one) for one in unpack(row)["wrong"]]


def ported_values(view: View, generation: int) -> list[memoryview]:
    """The table's values in order, as they lie in the map: they die with the view."""
    if not generation:
        return []
    return [value for _, value in view.buffers("ported", _GENERATION.pack(generation))]  # type: ignore[attr-defined]


def network_of(view: View, generation: int, networks: Sequence[str], number: int) -> str | None:
    """The code of the network that a number was ported to."""
    for value in reversed(ported_values(view, generation)):
        if int.from_bytes(value[:8], "little") >> NETWORK_BITS <= number:
            entries = value.cast("Q")
            at = bisect_left(entries, number << NETWORK_BITS)
            if at < len(entries) and entries[at] >> NETWORK_BITS == number:
                return networks[entries[at] & (1 << NETWORK_BITS) - 1]
            return None
    return None


def write_slice(view: View, entries: bytes | bytearray | mmap, first: int) -> tuple[Changes, int]:
    """(what to write in one commit from entry `first` on, the entry after it) of a new generation. The table in use is
    not touched; call drop_old() until there is none before the first."""
    generation, count = _next(view), len(entries) // 8
    changes, end = Changes(), min(first + VALUES_A_SLICE * ENTRIES_A_VALUE, count)
    for at in range(first, end, ENTRIES_A_VALUE):
        value = bytes(entries[8 * at : 8 * min(at + ENTRIES_A_VALUE, count)])
        changes.put("ported", _KEY.pack(generation, int.from_bytes(value[:8], "little") >> NETWORK_BITS), value)
    return changes, end


def write_all(store: Store, entries: bytes | bytearray) -> None:
    """A new generation in a store that nobody else writes to, slice by slice."""
    more, first = True, 0
    while more:
        with store.begin_write() as view:
            changes = drop_old(view)
            view.apply(changes)
            more = bool(changes.rows)
    while first < len(entries) // 8:
        with store.begin_write() as view:
            changes, first = write_slice(view, entries, first)
            view.apply(changes)


def turn(
    view: View, count: int, networks: Sequence[str], file: str, at_ms: int, *, lines: int = 0, rejected: int = 0,
    wrong: Sequence[Sequence[Any]] = (),
) -> Changes:  # fmt: skip
    """From this commit on the generation that was written is the table. Raises CommandRefused when it is not whole."""
    generation = _next(view)
    written = sum(len(value) for value in ported_values(view, generation)) // 8
    if written != count:
        detail = f"{written:,} of {count:,} ported numbers are written: load the file again"
        raise CommandRefused(409, "ported_not_whole", detail)
    changes = Changes()
    made = Ported(generation, count, tuple(networks), at_ms, file, lines, rejected)
    _put(changes, made, get_ported(view))
    kept = pack({"wrong": [list(one) for one in wrong[:WRONG_KEPT]]})
    changes.put("meta", _WRONG + _GENERATION.pack(generation), kept)
    return changes


def turn_back(view: View) -> tuple[Changes, Ported]:
    """(what undoes the last load, the table from then on); a second time it undoes that. Raises CommandRefused."""
    before = before_ported(view)
    if before is None:
        raise CommandRefused(409, "nothing_to_undo", "no table of ported numbers was loaded, so there is none to undo")
    changes = Changes()
    _put(changes, before, get_ported(view))
    return changes, before


def drop_old(view: View) -> Changes:
    """Some values of generations that are neither in use nor what undo turns to; empty when there are none."""
    changes = Changes()
    kept = {_ported(row).generation for row in _rows(view) if row is not None}
    bounds = [_KEY.pack(generation, (1 << 64) - 1) for generation in sorted(kept)]
    for after in (None, *bounds):
        for key, _ in view.range("ported", after=after):
            generation = _KEY.unpack(key)[0]
            if generation in kept:
                break
            changes.delete("ported", key)
            changes.delete("meta", _WRONG + _GENERATION.pack(generation))
            if len(changes.rows) >= 2 * VALUES_A_SLICE:
                return changes
    return changes


def _next(view: View) -> int:
    """The generation that a load writes."""
    return max(_ported(row).generation for row in _rows(view) if row is not None) + 1


def _rows(view: View) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(the table in use, the one before)"""
    octets = view.get("meta", _ROW)
    if octets is None:
        return asdict(Ported()), None
    row: dict[str, Any] = unpack(octets)
    return row, row.get("before")


def _ported(row: dict[str, Any]) -> Ported:
    return Ported(
        row["generation"], row["count"], tuple(row["networks"]), row["at_ms"], row["file"],
        row.get("lines", row["count"]), row.get("rejected", 0),
    )  # fmt: skip


def _put(changes: Changes, ported: Ported, before: Ported) -> None:
    changes.put("meta", _ROW, pack(asdict(ported) | {"before": asdict(before)}))


def _name(code: bytes) -> str:
    return code.decode("utf-8", "replace")
