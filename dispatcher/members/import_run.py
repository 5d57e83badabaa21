"""A parsed run as the importer reads it: the column files mapped, each with its field of the tenant.

Touches: the run's files, read-only. Mapped pages belong to the page cache, not to this process's memory.
"""

from __future__ import annotations

import mmap
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from dispatcher.members.fields import Field
from dispatcher.members.import_files import HEADER, Job, read_json, read_run, run_folder
from dispatcher.store.blocks import WIDTH, ColumnKind

_REJECTS_OCTETS = 1 << 20  # of rejects read at a time


@dataclass(frozen=True, slots=True)
class RunColumn:
    """One column of a run. `data` is the array, or the offsets of text and tags, whose octets are in `heap`."""

    title: str
    bit: int
    field: Field
    data: memoryview
    heap: memoryview
    codes: array[int]  # the parser's code -> the tenant's; empty when they are the same

    @property
    def kind(self) -> ColumnKind:
        return self.field.column

    @property
    def octets_a_row(self) -> float:
        rows = max(1, len(self.data) // (WIDTH.get(self.kind, 4) if self.kind != ColumnKind.PLANES else 4))
        if self.kind == ColumnKind.TEXT:
            return 4 + len(self.heap) / rows
        return -(-len(self.field.values) // 8) if self.kind == ColumnKind.PLANES else WIDTH[self.kind]


class Run:
    """A whole run. Raises FileNotFoundError when it is not whole."""

    def __init__(self, folder: Path, number: int) -> None:
        record, header = read_run(folder, number), read_json(folder / HEADER)
        if record is None or header is None:
            raise FileNotFoundError(run_folder(folder, number))
        self.number, self.record, self.header = number, record, header
        self._folder = run_folder(folder, number)
        self.rows = record.rows
        self.ordered = self.file("sorted").cast("Q")
        self.order = self.file("order").cast("I")
        self.given = self.file("given").cast("Q")
        self.lines = self.file("line").cast("I")

    def file(self, name: str) -> memoryview:
        """One of its files (import_files.py), empty when absent."""
        return map_file(self._folder / name)

    def columns(self, job: Job, fields: dict[int, Field]) -> list[RunColumn]:
        """Every column but the number; `fields` are the tenant's as they are now, by number: names may change."""
        words = {f.name: [*f.values, *self.record.new_values.get(f.name, [])] for f in job.fields}
        return [
            self._column(c, fields[c["number"]], words[c["field"]])
            for c in self.header["columns"]
            if c["kind"] != "phone"
        ]

    def _column(self, column: dict[str, Any], field: Field, words: list[str]) -> RunColumn:
        name, text = f"f{field.number}", field.column in (ColumnKind.TEXT, ColumnKind.PLANES)
        data, heap = self.file(name + ".ends" if text else name), self.file(name + ".heap") if text else memoryview(b"")
        if (written := ColumnKind(column["column"])) != field.column:
            data = _as_wide(data, written, field.column)
        return RunColumn(column["title"], column["bit"], field, data, heap, _codes(field, words))

    @property
    def phone_title(self) -> str:
        return next(str(c["title"]) for c in self.header["columns"] if c["kind"] == "phone")

    @property
    def points_mask(self) -> int:
        return sum(1 << c["bit"] for c in self.header["columns"] if c["kind"] == "points")

    def new_words(self, job: Job, fields: dict[int, Field]) -> dict[int, list[str]]:
        """Field -> words of this run that the tenant's field does not have yet."""
        numbers = {f.name: f.number for f in job.fields}
        new: dict[int, list[str]] = {}
        for name, words in self.record.new_values.items():
            have = set(fields[numbers[name]].values)
            if more := [word for word in words if word not in have]:
                new[numbers[name]] = more
        return new

    def rejects(self, at: int) -> tuple[list[dict[str, Any]], int]:
        """Some of the kept rejects from octet `at`, and where they end."""
        octets = self.file("rejects")[at : at + _REJECTS_OCTETS]
        unpacker, found, end = msgpack.Unpacker(strict_map_key=False), list[dict[str, Any]](), 0
        unpacker.feed(octets)
        for reject in unpacker:
            found.append(reject)
            end = unpacker.tell()
        return found, at + end


def _as_wide(data: memoryview, written: ColumnKind, wanted: ColumnKind) -> memoryview:
    """A dictionary's codes as wide as the column is now; one that does not fit is unknown."""
    assert {written, wanted} == {ColumnKind.U8, ColumnKind.U16}, f"{written.name} read as {wanted.name}"
    codes = array("B" if written == ColumnKind.U8 else "H", bytes(data))
    fitting = codes if wanted == ColumnKind.U16 else [code if code < 256 else 0 for code in codes]
    return memoryview(array("H" if wanted == ColumnKind.U16 else "B", fitting)).cast("B")


def map_file(path: Path) -> memoryview:
    if not path.exists() or path.stat().st_size == 0:
        return memoryview(b"")
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _codes(field: Field, words: list[str]) -> array[int]:
    """What the parser's codes are for the tenant; a word that found no room any more is unknown."""
    if field.kind not in ("dict", "tags") or (field.values[: len(words)] == tuple(words) and not field.merged):
        return array("H")
    first = 1 if field.kind == "dict" else 0
    have = {word: i + first for i, word in enumerate(field.values)}
    have |= {word: have[meaning] for word, meaning in field.merged}
    return array("H", [0] * first + [have.get(word, 0 if first else 0xFFFF) for word in words])
