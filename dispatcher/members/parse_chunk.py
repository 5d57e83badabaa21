"""Some rows of a file on their way to columns: their cells, which are still ok, and why the others are not.

Touches: the buffers that the rows were read into, for as long as the chunk is worked on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from typing import Any

from dispatcher.members import parse_cells
from dispatcher.members.parse_cells import BLANKS, HINTS, Rejected
from dispatcher.members.parse_header import Header, Mapped, Titles
from dispatcher.members.parse_run import RunWriter

try:
    from dispatcher.members import _parse_codes, _parse_objects, _parse_rows, _parse_texts
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernels members/_parse_* are not built: run `make build`") from exc

CHUNK_ROWS = 16_384
_CELLS_MAX = 1 << 21  # of a chunk: 16 MiB, also when a file has 10,000 columns


def rows_of_chunk(columns: int) -> int:
    return max(1, min(CHUNK_ROWS, _CELLS_MAX // max(1, columns)))


class Chunk(ABC):
    """`rows` rows of one kind of file; what each format shares."""

    of_spreadsheets = False  # an export to it puts a ' before what looks like a formula

    def __init__(self, header: Header, rows_max: int) -> None:
        self.header, self.rows_max, self.charset = header, rows_max, "utf-8"
        self.lines = array("I", bytes(4 * rows_max))
        self.odd = array("I", bytes(4 * rows_max))
        self.rows = 0
        self.ok = bytearray()
        self.given = array("Q")
        self.rejects: list[dict[str, Any]] = []

    def begin(self, rows: int) -> None:
        self.rows, self.ok, self.given = rows, bytearray(b"\1") * rows, array("Q", bytes(8 * rows))

    @abstractmethod
    def where(self, column: int) -> tuple[Any, Any, int, int]:
        """(octets, cells, cells a row, which of them): how a kernel finds a column's cells."""

    def integers(self, column: int) -> tuple[Any, int, Any, int] | None:
        """A column that came as numbers: (values, octets of each, validity, offset). None: as cells."""
        return None

    def cell(self, row: int, column: int) -> bytes:
        data, cells, columns, which = self.where(column)
        at = 2 * (row * columns + which)
        return bytes(data[cells[at] : cells[at + 1]]).strip(BLANKS.encode())

    def write_rows(self, numbers: bytearray, run: RunWriter) -> None:
        """What every row has beside its columns: its number, what it gave, where it stood."""
        kept = _parse_texts.compact(numbers, 8, self.ok, self.rows)
        run.numbers.frombytes(kept)
        run.append("given", _parse_texts.compact(memoryview(self.given).cast("B"), 8, self.ok, self.rows))
        run.append("line", _parse_texts.compact(memoryview(self.lines).cast("B"), 4, self.ok, self.rows))
        run.rows += len(kept) // 8

    def reject(self, row: int, mapped: Mapped, why: Rejected) -> None:
        self.ok[row] = 0
        code, detail = why.code, why.detail
        if code == "broken_utf8" and self.charset != "utf-8":
            code, detail = "broken_charset", f"octets that are not {self.charset}"
        self._reject(self.lines[row], mapped.title, parse_cells.shown(self.cell(row, mapped.column)), code, detail)

    def reject_row(self, line: int, octets: bytes, code: str, detail: str, column: str | None = None) -> None:
        self._reject(line, column, parse_cells.shown(octets.rstrip(b"\r\n")), code, detail)

    def _reject(self, line: int, column: str | None, value: str, code: str, detail: str) -> None:
        reject = {"line": line, "column": column, "value": value, "code": code, "detail": detail}
        self.rejects.append({**reject, "hint": HINTS.get(code, "")})


class TextChunk(Chunk):
    """Rows cut from a window of text; cut() takes at most `most` of them and answers where it stopped."""

    def __init__(self, header: Header, row_octets_max: int, charset: str = "utf-8") -> None:
        super().__init__(header, rows_of_chunk(header.columns))
        self.row_octets_max, self.charset = row_octets_max, charset
        self.data = bytearray()
        self.cells = array("I", bytes(8 * self.rows_max * header.columns))

    def where(self, column: int) -> tuple[Any, Any, int, int]:
        return self.data, self.cells, self.header.columns, column

    @abstractmethod
    def cut(self, data: bytearray, start: int, end: int, final: bool, line: int, most: int) -> tuple[int, int]:
        """Rows of data[start:end], `final` when nothing follows; (where it stopped, the line there)."""


class CsvChunk(TextChunk):
    """Rests on: RFC 4180, with one of four delimiters or a stated one, and lines that end in LF or CRLF."""

    of_spreadsheets = True

    def cut(self, data: bytearray, start: int, end: int, final: bool, line: int, most: int) -> tuple[int, int]:
        bad: list[tuple[int, int, int, int]] = []
        lines = memoryview(self.lines)[:most]
        delimiter, columns = ord(self.header.delimiter), self.header.columns
        rows, at, line = _parse_rows.cut(
            data, start, end, final, delimiter, columns, self.cells, lines, line, self.row_octets_max, bad
        )
        self.data = data
        self.begin(rows)
        for where, status, first, last in bad:
            code, detail = _ROW_REJECTS[status]
            self.reject_row(where, bytes(data[first:last]), code, detail.format(columns))
        return at, line


class ObjectChunk(TextChunk):
    """Rests on: NDJSON: RFC 8259 objects, one a line."""

    def __init__(self, header: Header, row_octets_max: int, charset: str, keys: Keys) -> None:
        super().__init__(header, row_octets_max, charset)
        self.keys = keys
        self.lists = bytes(m.field.kind == "tags" for m in header.mapped)

    def cut(self, data: bytearray, start: int, end: int, final: bool, line: int, most: int) -> tuple[int, int]:
        bad: list[tuple[int, int, int, int, int, int]] = []
        lines, keys = memoryview(self.lines)[:most], self.keys
        rows, at, line = _parse_objects.cut_objects(
            data, start, end, final, keys.table, keys.learn, self.lists, self.cells, lines, line,
            self.row_octets_max, bad,
        )  # fmt: skip
        self.data = data
        self.begin(rows)
        for where, status, first, last, column, octet in bad:
            code, detail = _ROW_REJECTS[status]
            title = self.header.mapped[column].title if column >= 0 else None
            self.reject_row(where, bytes(data[first:last]), code, detail.format(octet + 1), title)
        return at, line


class Keys:
    """The keys of an NDJSON file and the column of each. `later`: ignored ones that the first rows did not have."""

    IGNORED, LATE = 0xFFFF, 0xFFFE  # as in _parse_objects.pyx

    def __init__(self, header: Header, titles: Titles, most: int) -> None:
        self.table = _parse_codes.Codes()
        self.later: list[str] = []
        self._columns = {m.field.name: m.column for m in header.mapped}
        self._ignored = {title.strip().casefold() for title in header.ignored}
        self._titles, self._most = titles, most

    def learn(self, key: bytes) -> None:
        """Take up a key; none of those past the most that a file may have."""
        if len(self.table) >= self._most:
            return
        title = key.decode(errors="replace").strip()
        found = self._titles.field_of(title)
        if found is None and title.casefold() not in self._ignored:
            self.later.append(title[:100])
        self.table.learn(key, self._columns.get(found[0].name, self.LATE) if found else self.IGNORED)


LINE_TOO_LONG = ("line_too_long", "the row is longer than a row may be")
_ROW_REJECTS = {  # the kernels' statuses
    1: ("too_few_columns", "fewer than {} columns"),
    2: ("too_many_columns", "more than {} columns"),
    3: ("unclosed_quote", "a quote is never closed; reading went on in the next line"),
    4: ("text_after_quote", "text between a closing quote and the next delimiter"),
    5: ("nul_octet", "the row holds a NUL octet"),
    8: LINE_TOO_LONG,
    9: ("bad_json", "not one JSON object, at octet {} of the line"),
    10: ("nested_value", "an object or a list where one value is wanted"),
    11: ("duplicate_key", "a second value for the same field"),
    12: ("lone_surrogate", "half of a surrogate pair, at octet {} of the line"),
    13: ("too_deep", "nested more than 64 deep"),
    14: ("late_key", "a field's key that none of the first rows has, at octet {} of the line"),
    15: ("too_many_keys", "more than 4,096 different keys in the file"),
}
