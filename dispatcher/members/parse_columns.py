"""A chunk of cut rows to column arrays: the kernel takes the plain cells, parse_cells the others.

Touches: the chunk, and the files of the run that is being written.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Any

from dispatcher.members import parse_cells
from dispatcher.members.import_files import JobField
from dispatcher.members.parse_cells import BLANKS, NewValue, Rejected
from dispatcher.members.parse_header import Header, Mapped
from dispatcher.members.parse_run import RunWriter
from dispatcher.store.blocks import NUMBER, UNKNOWN, WIDTH, ColumnKind

try:
    from dispatcher.members import _parse as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel members/_parse is not built: run `make build`") from exc

_LEARNED_MAX = 60_000  # distinct cells a code column remembers; further ones are decided each time


class Chunk:
    """Some rows of the body, cut: `rows` rows of `header.columns` cells, and which are still ok."""

    def __init__(self, header: Header, rows_max: int, row_octets_max: int) -> None:
        self.header, self.row_octets_max = header, row_octets_max
        self.data = bytearray()
        self.cells = array("I", bytes(8 * rows_max * header.columns))
        self.lines = array("I", bytes(4 * rows_max))
        self.odd = array("I", bytes(4 * rows_max))
        self.rows = 0
        self.ok = bytearray()
        self.given = array("Q")
        self.rejects: list[dict[str, Any]] = []

    def cut(self, data: bytearray, start: int, end: int, final: bool, line: int, most: int) -> tuple[int, int]:
        """Take at most `most` rows, reject those that cannot be cut; returns where it stopped and the line there."""
        bad: list[tuple[int, int, int, int]] = []
        lines = memoryview(self.lines)[:most]
        delimiter, columns = ord(self.header.delimiter), self.header.columns
        self.rows, at, line = kernel.cut(
            data, start, end, final, delimiter, columns, self.cells, lines, line, self.row_octets_max, bad
        )
        self.data, self.ok, self.given = data, bytearray(b"\1") * self.rows, array("Q", bytes(8 * self.rows))
        for where, status, first, last in bad:
            code, detail = _ROW_REJECTS[status]
            self.reject_row(where, bytes(data[first:last]), code, detail.format(self.header.columns))
        return at, line

    def cell(self, row: int, column: int) -> bytes:
        at = 2 * (row * self.header.columns + column)
        return bytes(self.data[self.cells[at] : self.cells[at + 1]]).strip(BLANKS.encode())

    def write_rows(self, phone: NumberColumn, run: RunWriter) -> None:
        """What every row has beside its columns: its number, what it gave, where it stood."""
        numbers = kernel.compact(phone.numbers, 8, self.ok, self.rows)
        run.numbers.frombytes(numbers)
        run.append("given", kernel.compact(memoryview(self.given).cast("B"), 8, self.ok, self.rows))
        run.append("line", kernel.compact(memoryview(self.lines).cast("B"), 4, self.ok, self.rows))
        run.rows += len(numbers) // 8

    def reject(self, row: int, mapped: Mapped, why: Rejected) -> None:
        self.ok[row] = 0
        value = parse_cells.shown(self.cell(row, mapped.column))
        self._reject(self.lines[row], mapped.title, value, why.code, why.detail)

    def reject_row(self, line: int, octets: bytes, code: str, detail: str) -> None:
        self._reject(line, None, parse_cells.shown(octets.rstrip(b"\r\n")), code, detail)

    def _reject(self, line: int, column: str | None, value: str, code: str, detail: str) -> None:
        self.rejects.append({"line": line, "column": column, "value": value, "code": code, "detail": detail})


LINE_TOO_LONG = ("line_too_long", "the row is longer than a row may be")
_ROW_REJECTS = {  # the kernel's statuses
    1: ("too_few_columns", "fewer than {} columns"),
    2: ("too_many_columns", "more than {} columns"),
    3: ("unclosed_quote", "a quote is never closed; reading went on in the next line"),
    4: ("text_after_quote", "text between a closing quote and the next delimiter"),
    5: ("nul_octet", "the row holds a NUL octet"),
    8: LINE_TOO_LONG,
}


class Column:
    """One mapped column. take() reads a chunk and rejects rows; write() appends what is still ok to the run."""

    def __init__(self, mapped: Mapped) -> None:
        self.mapped = mapped
        self.field = mapped.field
        self.kind = ColumnKind(mapped.field.column)
        self.bit = 1 << mapped.bit
        self.name = f"f{mapped.field.number}"

    def take(self, chunk: Chunk) -> None:
        raise NotImplementedError

    def write(self, chunk: Chunk, run: RunWriter) -> None:
        raise NotImplementedError

    def _common(self, chunk: Chunk) -> Any:
        """What every kernel call begins with."""
        where = (chunk.data, chunk.cells, chunk.header.columns, self.mapped.column)
        return (*where, chunk.rows, chunk.ok, chunk.given, self.bit)


class NumberColumn(Column):
    """Phones, dates, whole numbers, money, points."""

    def __init__(self, mapped: Mapped, what: int, decide: Callable[[str], int | Rejected]) -> None:
        super().__init__(mapped)
        self.what, self.decide, self.width = what, decide, WIDTH[self.kind]
        self.numbers = bytearray()

    def take(self, chunk: Chunk) -> None:
        if len(self.numbers) < chunk.rows * self.width:
            self.numbers = bytearray(chunk.rows * self.width)
        unknown, odd = 0 if self.field.kind == "points" else UNKNOWN[self.kind], chunk.odd
        left = kernel.numbers(self.what, *self._common(chunk), self.numbers, self.width, unknown, odd)
        put = NUMBER[self.kind].pack_into
        for row in odd[:left]:
            value = _decoded(chunk.cell(row, self.mapped.column), self.decide)
            if isinstance(value, Rejected):
                chunk.reject(row, self.mapped, value)
            else:
                put(self.numbers, row * self.width, value)

    def write(self, chunk: Chunk, run: RunWriter) -> None:
        run.append(self.name, kernel.compact(self.numbers, self.width, chunk.ok, chunk.rows))


class CodeColumn(Column):
    """Dictionaries, booleans, days of the year: few distinct cells, each decided once."""

    def __init__(
        self, mapped: Mapped, decide: Callable[[str], int | Rejected], known: Iterable[tuple[str, int]] = ()
    ) -> None:
        super().__init__(mapped)
        self.decide, self.width = decide, WIDTH[self.kind]
        self.table = kernel.Codes()
        self.codes = bytearray()
        for word, code in known:
            self.table.learn(word.encode(), code)

    def take(self, chunk: Chunk) -> None:
        if len(self.codes) < chunk.rows * self.width:
            self.codes = bytearray(chunk.rows * self.width)
        left = kernel.codes(self.table, *self._common(chunk), self.codes, self.width, chunk.odd)
        put = NUMBER[self.kind].pack_into
        for row in chunk.odd[:left]:
            cell = chunk.cell(row, self.mapped.column)
            value = _decoded(cell, self.decide)
            if isinstance(value, Rejected):
                chunk.reject(row, self.mapped, value)
                continue
            if len(self.table) < _LEARNED_MAX:
                self.table.learn(cell, value)
            put(self.codes, row * self.width, value)

    def write(self, chunk: Chunk, run: RunWriter) -> None:
        run.append(self.name, kernel.compact(self.codes, self.width, chunk.ok, chunk.rows))


class TextColumn(Column):
    def take(self, chunk: Chunk) -> None:
        left = kernel.texts(*self._common(chunk), self.field.max_length, chunk.odd)
        for row in chunk.odd[:left]:
            why = parse_cells.clean_text_of(chunk.cell(row, self.mapped.column), self.field.max_length)
            assert isinstance(why, Rejected)
            chunk.reject(row, self.mapped, why)

    def write(self, chunk: Chunk, run: RunWriter) -> None:
        ends = array("I", bytes(4 * chunk.rows))
        base = run.size(self.name + ".heap")
        heap = kernel.heap_of(
            chunk.data, chunk.cells, chunk.header.columns, self.mapped.column, chunk.rows, chunk.ok, base, ends
        )
        run.append(self.name + ".heap", heap)
        run.append(self.name + ".ends", memoryview(ends)[: chunk.ok.count(1)])


class TagsColumn(Column):
    """`a;b;c` to tag codes; sets of tags repeat, so each distinct cell is decided once."""

    def __init__(self, mapped: Mapped, decide: Callable[[str], list[int] | Rejected]) -> None:
        super().__init__(mapped)
        self.decide = decide
        self.known: dict[bytes, bytes] = {b"": b""}
        self.tags: list[bytes] = []

    def take(self, chunk: Chunk) -> None:
        known, self.tags = self.known, [b""] * chunk.rows
        for row in range(chunk.rows):
            if not chunk.ok[row]:
                continue
            cell = chunk.cell(row, self.mapped.column)
            if cell:
                chunk.given[row] |= self.bit
            codes = known.get(cell)
            if codes is None:
                found = _decoded(cell, self.decide)
                if isinstance(found, Rejected):
                    chunk.reject(row, self.mapped, found)
                    continue
                codes = array("H", found).tobytes()
                if len(known) < _LEARNED_MAX:
                    known[cell] = codes
            self.tags[row] = codes

    def write(self, chunk: Chunk, run: RunWriter) -> None:
        end, ends = run.size(self.name + ".heap") // 2, array("I")
        kept = [tags for tags, ok in zip(self.tags, chunk.ok, strict=True) if ok]
        for tags in kept:
            end += len(tags) // 2
            ends.append(end)
        run.append(self.name + ".heap", b"".join(kept))
        run.append(self.name + ".ends", ends)


class Words:
    """A field's words and their codes as this import sees them; open fields take up new ones."""

    def __init__(self, field: JobField, new: list[str]) -> None:
        self.field = field
        self.first = 0 if field.kind == "tags" else 1
        self.codes = {word: i + self.first for i, word in enumerate([*field.values, *new])}
        self.new = new

    def code(self, word: str) -> int | Rejected:
        found = parse_cells.word_of(word, self.field, self.codes, self.field.max_values)
        if isinstance(found, NewValue):
            found = self.codes[word] = len(self.codes) + self.first
            self.new.append(word)
        return found

    def tags(self, cell: str) -> list[int] | Rejected:
        codes: list[int] = []
        for word in dict.fromkeys(part.strip() for part in cell.split(";")):
            found = self.code(word) if word else None
            if isinstance(found, Rejected):
                return found
            if found is not None:
                codes.append(found)
        return codes


def columns_of(header: Header, region: str, new_values: dict[str, list[str]]) -> list[Column]:
    """The mapped columns in the order they are read: those that may learn new words last."""

    def column(mapped: Mapped) -> Column:
        field, width = mapped.field, WIDTH.get(ColumnKind(mapped.field.column), 0)
        match field.kind:
            case "phone":
                return NumberColumn(mapped, kernel.PHONE, lambda cell: parse_cells.phone_of(cell, region))
            case "date":
                return NumberColumn(mapped, kernel.DATE, parse_cells.date_of)
            case "points":
                return NumberColumn(mapped, kernel.POINTS, parse_cells.points_of)
            case "int":
                return NumberColumn(mapped, kernel.INT, lambda cell: parse_cells.int_of(cell, width))
            case "money":
                return NumberColumn(mapped, kernel.MONEY, parse_cells.money_of)
            case "bool":
                return CodeColumn(mapped, parse_cells.bool_of)
            case "month_day":
                return CodeColumn(mapped, parse_cells.month_day_of)
            case "text":
                return TextColumn(mapped)
        words = Words(field, new_values.setdefault(field.name, []))
        if field.kind == "tags":
            return TagsColumn(mapped, words.tags)
        return CodeColumn(mapped, words.code, list(words.codes.items())[:_LEARNED_MAX])

    order = sorted(header.mapped, key=lambda m: m.field.kind in ("dict", "tags") and not m.field.closed)
    return [column(mapped) for mapped in order]


def _decoded(cell: bytes, decide: Callable[[str], Any]) -> Any:
    text = parse_cells.text_of(cell, len(cell))
    return text if isinstance(text, Rejected) else decide(text)
