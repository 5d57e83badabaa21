"""A chunk of rows to column arrays: the kernels take the plain cells, parse_cells the others.

Touches: the chunk, and the files of the run that is being written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

from dispatcher.members import _parse_arrow, _parse_codes, _parse_numbers, _parse_texts, parse_cells
from dispatcher.members.parse_cells import NewValue, Rejected
from dispatcher.members.parse_chunk import Chunk
from dispatcher.members.parse_dates import ISO
from dispatcher.members.parse_header import Header, Mapped
from dispatcher.members.parse_national import national_table
from dispatcher.members.parse_run import RunWriter
from dispatcher.store.blocks import NUMBER, UNKNOWN, WIDTH, ColumnKind

_LEARNED_MAX = 45_000  # distinct cells a column remembers; with a chunk's rows still numbers of 16 bits
LIST = "\x1f"  # begins each text of a list that came as one (members/_parse_objects.pyx)
_DAYS = (-719_162, 2_932_896)  # 0001-01-01 to 9999-12-31, as Python's dates


class Column(ABC):
    """One mapped column. take() reads a chunk and rejects rows; write() appends what is still ok to the run."""

    def __init__(self, mapped: Mapped, decide: Callable[[str], Any]) -> None:
        self.mapped, self.decide = mapped, decide
        self.field = mapped.field
        self.kind = ColumnKind(mapped.field.column)
        self.bit = 1 << mapped.bit
        self.name = f"f{mapped.field.number}"
        self.values = mapped.rule.values
        self._mapped_cells = _parse_codes.Codes()
        for cell in self.values:
            self._mapped_cells.learn(cell.encode(), 1)

    @abstractmethod
    def take(self, chunk: Chunk) -> None:
        """Read the chunk's cells, rejecting rows."""

    @abstractmethod
    def write(self, chunk: Chunk, run: RunWriter) -> None:
        """Append what is still ok to the run."""

    def _common(self, chunk: Chunk) -> Any:
        """What every kernel call begins with."""
        return (*chunk.where(self.mapped.column), chunk.rows, chunk.ok, chunk.given, self.bit)

    def _decided(self, chunk: Chunk, row: int) -> Any:
        """What the row's cell means; None when the mapping says unknown. A rejected row is not ok any more."""
        cell = chunk.cell(row, self.mapped.column)
        text = parse_cells.text_of(cell, len(cell))
        if isinstance(text, str):
            if chunk.of_spreadsheets and self.field.kind in ("text", "dict", "tags"):
                text = parse_cells.unescaped(text)
            meant = self.values.get(text, text)
            if not meant and self.field.kind != "phone":
                chunk.given[row] &= ~self.bit
                return None
            text = self.decide(meant)
        if isinstance(text, Rejected):
            chunk.reject(row, self.mapped, text)
        return text

    def _in_the_mapping(self, chunk: Chunk) -> set[int]:
        """Rows whose cell the mapping gives another meaning: they are not plain, whatever they look like."""
        if not self.values:
            return set()
        hit, odd = bytearray(chunk.rows), array("I", bytes(4 * chunk.rows))
        _parse_codes.codes(self._mapped_cells, *self._common(chunk), hit, 1, odd)
        return {row for row, there in enumerate(hit) if there}


class NumberColumn(Column):
    """Phones, dates, whole numbers, money, points."""

    def __init__(
        self, mapped: Mapped, what: int, decide: Callable[[str], int | Rejected], form: bytes = ISO, region: str = ""
    ) -> None:
        super().__init__(mapped, decide)
        self.what, self.width, self.form, self.national = what, WIDTH[self.kind], form, national_table(region)
        self.unknown = 0 if self.field.kind == "points" else UNKNOWN[self.kind]
        self.numbers = bytearray()

    def take(self, chunk: Chunk) -> None:
        if len(self.numbers) < chunk.rows * self.width:
            self.numbers = bytearray(chunk.rows * self.width)
        numbers = chunk.integers(self.mapped.column)
        if numbers is not None:
            left = self._take_integers(chunk, numbers)
        else:
            where = self._common(chunk)
            left = _parse_numbers.numbers(
                self.what, *where, self.numbers, self.width, self.unknown, self.form, self.national, chunk.odd
            )
        odd: Iterable[int] = chunk.odd[:left]
        if self.values:
            odd = sorted(self._in_the_mapping(chunk) | set(odd))
        put = NUMBER[self.kind].pack_into
        for row in odd:
            value = self._decided(chunk, row)
            if not isinstance(value, Rejected):
                put(self.numbers, row * self.width, self.unknown if value is None else value)

    def _take_integers(self, chunk: Chunk, numbers: tuple[Any, int, Any, int]) -> int:
        values, octets, validity, offset = numbers
        most = (1 << 8 * self.width - 1) - 1
        least = 0 if self.field.kind == "points" else -most
        if self.field.kind == "date":
            least, most = _DAYS
        where = (values, octets, validity, offset, chunk.rows, chunk.ok, chunk.given, self.bit)
        return _parse_arrow.integers(*where, self.numbers, self.width, self.unknown, least, most, chunk.odd)

    def write(self, chunk: Chunk, run: RunWriter) -> None:
        run.append(self.name, _parse_texts.compact(self.numbers, self.width, chunk.ok, chunk.rows))


class CodeColumn(Column):
    """Dictionaries, booleans, days of the year: few distinct cells, each decided once."""

    def __init__(
        self, mapped: Mapped, decide: Callable[[str], int | Rejected], known: Iterable[tuple[str, int]] = ()
    ) -> None:
        super().__init__(mapped, decide)
        self.width = WIDTH[self.kind]
        self.table = _parse_codes.Codes()
        self.codes = bytearray()
        for word, code in known:
            if word not in self.values and not word.startswith("'"):
                self.table.learn(word.encode(), code)

    def take(self, chunk: Chunk) -> None:
        if len(self.codes) < chunk.rows * self.width:
            self.codes = bytearray(chunk.rows * self.width)
        left = _parse_codes.codes(self.table, *self._common(chunk), self.codes, self.width, chunk.odd)
        put = NUMBER[self.kind].pack_into
        for row in chunk.odd[:left]:
            value = self._decided(chunk, row)
            if isinstance(value, Rejected):
                continue
            if value is not None and len(self.table) < _LEARNED_MAX:
                self.table.learn(chunk.cell(row, self.mapped.column), value)
            put(self.codes, row * self.width, value or 0)

    def write(self, chunk: Chunk, run: RunWriter) -> None:
        run.append(self.name, _parse_texts.compact(self.codes, self.width, chunk.ok, chunk.rows))


class TextColumn(Column):
    def __init__(self, mapped: Mapped) -> None:
        super().__init__(mapped, lambda text: parse_cells.clean_text_of(text.encode(), mapped.field.max_length))
        self.instead: dict[int, bytes] = {}  # row -> its text, where the mapping has another

    def take(self, chunk: Chunk) -> None:
        left = _parse_texts.texts(*self._common(chunk), self.field.max_length, chunk.odd)
        odd = set(chunk.odd[:left]) | self._in_the_mapping(chunk)
        self.instead.clear()
        for row in sorted(odd):
            text = self._decided(chunk, row)
            if not isinstance(text, Rejected):
                self.instead[row] = (text or "").encode()

    def write(self, chunk: Chunk, run: RunWriter) -> None:
        ends = array("I", bytes(4 * chunk.rows))
        base = run.size(self.name + ".heap")
        heap = _parse_texts.heap_of(*chunk.where(self.mapped.column), chunk.rows, chunk.ok, base, ends)
        kept = chunk.ok.count(1)
        if self.instead:
            heap, ends = self._replaced(chunk, heap, ends, base)
        run.append(self.name + ".heap", heap)
        run.append(self.name + ".ends", memoryview(ends)[:kept])

    def _replaced(self, chunk: Chunk, heap: bytes, ends: array[int], base: int) -> tuple[bytes, array[int]]:
        """The heap with the texts of the mapping in their rows."""
        starts = (base, *ends)
        kept = (row for row, ok in enumerate(chunk.ok) if ok)
        texts = [
            self.instead[row] if row in self.instead else heap[starts[i] - base : starts[i + 1] - base]
            for i, row in enumerate(kept)
        ]
        return b"".join(texts), array("I", accumulate(map(len, texts), initial=base))[1:]


class TagsColumn(Column):
    """`a;b;c` to tag codes; sets of tags repeat, so each distinct cell is decided once."""

    def __init__(self, mapped: Mapped, decide: Callable[[str], list[int] | Rejected]) -> None:
        super().__init__(mapped, decide)
        self.values = {}  # of words, not of cells: Words has them
        self.table = _parse_codes.Codes()
        self.sets = [b""]  # by the table's numbers, then those of this chunk that it has no room for
        self.which = bytearray()

    def take(self, chunk: Chunk) -> None:
        if len(self.which) < 2 * chunk.rows:
            self.which = bytearray(2 * chunk.rows)
        del self.sets[len(self.table) + 1 :]
        left = _parse_codes.codes(self.table, *self._common(chunk), self.which, 2, chunk.odd)
        which, seen = memoryview(self.which).cast("H"), dict[bytes, int]()
        for row in chunk.odd[:left]:
            cell = chunk.cell(row, self.mapped.column)
            number = seen.get(cell)
            if number is None:
                codes = self._decided(chunk, row)
                if isinstance(codes, Rejected):
                    continue
                number = seen[cell] = len(self.sets)
                self.sets.append(array("H", codes or ()).tobytes())
                if number == len(self.table) + 1 and number < _LEARNED_MAX:
                    self.table.learn(cell, number)
            which[row] = number

    def write(self, chunk: Chunk, run: RunWriter) -> None:
        kept = memoryview(_parse_texts.compact(self.which, 2, chunk.ok, chunk.rows)).cast("H")
        starts, ends = array("I", accumulate(map(len, self.sets), initial=0)), array("I", bytes(4 * len(kept)))
        first = run.size(self.name + ".heap") // 2
        run.append(self.name + ".heap", _parse_texts.chosen(kept, b"".join(self.sets), starts, first, ends))
        run.append(self.name + ".ends", ends)


class Words:
    """A field's words and their codes as this import sees them; open fields take up new ones."""

    def __init__(self, mapped: Mapped, new: list[str]) -> None:
        self.field = field = mapped.field
        self.first = 0 if field.kind == "tags" else 1
        self.codes = {word: i + self.first for i, word in enumerate([*field.values, *new])}
        self.new = new
        self.separator, self.values = mapped.rule.separator, mapped.rule.values

    def code(self, word: str) -> int | Rejected:
        found = parse_cells.word_of(word, self.field, self.codes, self.field.max_values)
        if isinstance(found, NewValue):
            found = self.codes[word] = len(self.codes) + self.first
            self.new.append(word)
        return found

    def tags(self, cell: str) -> list[int] | Rejected:
        codes: list[int] = []
        parts = cell[1:].split(LIST) if cell.startswith(LIST) else cell.split(self.separator)
        for word in dict.fromkeys(part.strip() for part in parts):
            meant = self.values.get(word, word)
            found = self.code(meant) if meant else None
            if isinstance(found, Rejected):
                return found
            if found is not None and found not in codes:
                codes.append(found)
        return codes


def columns_of(header: Header, region: str, new_values: dict[str, list[str]]) -> list[Column]:
    """The mapped columns in the order they are read: those that may learn new words last."""

    def column(mapped: Mapped) -> Column:
        field, width, rule = mapped.field, WIDTH.get(ColumnKind(mapped.field.column), 0), mapped.rule
        form = rule.date_form
        match field.kind:
            case "phone":
                of = rule.region or region
                return NumberColumn(mapped, _parse_numbers.PHONE, _phone(mapped, of), region=of)
            case "date" if form is not None:
                return NumberColumn(
                    mapped, _parse_numbers.DATE, lambda cell: parse_cells.formed_date_of(cell, form), form.plain
                )
            case "date":
                return NumberColumn(mapped, _parse_numbers.DATE, parse_cells.date_of)
            case "points":
                return NumberColumn(mapped, _parse_numbers.POINTS, parse_cells.points_of)
            case "int":
                return NumberColumn(mapped, _parse_numbers.INT, lambda cell: parse_cells.int_of(cell, width))
            case "money":
                return NumberColumn(mapped, _parse_numbers.MONEY, parse_cells.money_of)
            case "bool":
                return CodeColumn(mapped, parse_cells.bool_of)
            case "month_day" if form is not None:
                return CodeColumn(mapped, lambda cell: parse_cells.formed_month_day_of(cell, form))
            case "month_day":
                return CodeColumn(mapped, parse_cells.month_day_of)
            case "text":
                return TextColumn(mapped)
        words = Words(mapped, new_values.setdefault(field.name, []))
        if field.kind == "tags":
            return TagsColumn(mapped, words.tags)
        return CodeColumn(mapped, words.code, list(words.codes.items())[:_LEARNED_MAX])

    order = sorted(header.mapped, key=lambda m: m.field.kind in ("dict", "tags") and not m.field.closed)
    return [column(mapped) for mapped in order]


def _phone(mapped: Mapped, region: str) -> Callable[[str], int | Rejected]:
    title = mapped.title.strip().casefold()

    def decide(cell: str) -> int | Rejected:
        found = parse_cells.phone_of(cell, region)
        if isinstance(found, Rejected) and cell.strip("\ufeff").casefold() == title:
            return Rejected("header_again", "the header's titles stand here again")
        return found

    return decide
