"""Parquet as chunks of rows: Arrow's buffers become cells and arrays without a Python object a row.

Touches: the import's folder: its body, or the file `unpacked` where the body is compressed as a whole.
Rests on: pyarrow, the extra volley[parquet]. A Parquet file's table of contents is at its end, so the body must
be whole first. Strings become the cells that the kernels read, integers and days go straight to their arrays;
every other type is cast to the text that a CSV cell would have.
Texts that all stand in dictionaries are read by their numbers: a text is held once, however often it is there.
Weak spot: pyarrow reads a page whole. A page of more octets than the process may have (parse.DATA_MAX) ends the import.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dispatcher.members import _parse_arrow
from dispatcher.members.import_files import BODY
from dispatcher.members.parse_body import BodyBroken, Peeked, Spooled
from dispatcher.members.parse_cells import Rejected
from dispatcher.members.parse_chunk import CHUNK_ROWS, Chunk
from dispatcher.members.parse_columns import LIST
from dispatcher.members.parse_header import FileRefused, Header, Mapped, Titles

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    pa = None

UNPACKED = "unpacked"
_PIECE = 1 << 20
_BUFFER = 1 << 18  # octets of a column chunk read at a time
_BATCH_OCTETS = 1 << 25
_INTEGERS = {"int": "i", "points": "i", "date": "d"}  # kinds that take an array of numbers as it is


class ParquetSource:
    """One Parquet body. `position` counts rows; `line` is the number of the next, from 1."""

    def __init__(self, spooled: Spooled, text: Peeked, compression: str, folder: Path, titles: Titles) -> None:
        self._spooled, self._text, self._compression = spooled, text, compression
        self._folder, self._titles = folder, titles
        self.position, self.line = 0, 1
        self.later: list[str] = []
        self._file: Any = None
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._at = 0
        self._header: Header | None = None

    @property
    def octet(self) -> int:
        """How much of the body its rows so far are, taking them as equal."""
        rows = self._file.metadata.num_rows if self._file is not None else 0
        return int(self._size * self.position / rows) if rows else self._size

    def header(self) -> Header | FileRefused:
        if pa is None:
            return FileRefused(
                "parquet_not_installed", "reading Parquet needs pyarrow", "pip install 'volley[parquet]'"
            )
        self._size = self._spooled.wait_until_whole()
        path = self._folder / BODY if self._compression == "none" else self._unpack()
        try:
            self._file = _opened(path, [])
            self._file = _opened(path, _dictionaries(self._file))
            schema = self._file.schema_arrow
        except (pa.ArrowException, OSError, ValueError) as exc:
            return FileRefused("broken_parquet", f"the file's footer cannot be read: {_said(exc)}")
        return self._understood(schema)

    def _understood(self, schema: Any) -> Header | FileRefused:
        if not schema.names:
            return FileRefused("empty_file", "the file has no columns")
        header = self._titles.checked(self._titles.header(schema.names))
        if isinstance(header, FileRefused):
            return header
        for m in header.mapped:
            if schema.names.count(m.title) > 1:
                return FileRefused("duplicate_column", f"the file has column {m.title!r} more than once")
            if (why := _unsupported(schema.field(m.column).type, m)) is not None:
                return FileRefused("unsupported_type", f"column {m.title!r} is {why}")
        self._header = header
        self._batches = self._read(0, 0)
        return header

    def _unpack(self) -> Path:
        path = self._folder / UNPACKED
        room = memoryview(bytearray(_PIECE))
        with open(path, "wb") as file:
            while count := self._text.readinto(room):
                file.write(room[:count])
        return path

    def _read(self, group: int, skip: int) -> Iterator[Any]:
        """Batches from a row group on, the first `skip` rows left away."""
        assert self._header is not None
        names = [m.title for m in self._header.mapped]
        for number in range(group, self._file.metadata.num_row_groups):
            rows = _rows_of_batch(self._file.metadata.row_group(number))
            batches = self._file.iter_batches(rows, row_groups=[number], columns=names, use_threads=False)
            for batch in batches:
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                yield batch.slice(skip)
                skip = 0

    def go_to(self, position: int, line: int) -> None:
        group, skip, metadata = 0, position, self._file.metadata
        while group < metadata.num_row_groups and skip >= metadata.row_group(group).num_rows:
            skip -= metadata.row_group(group).num_rows
            group += 1
        self.position, self.line = position, line
        self._batches = self._read(group, skip)

    def next_chunk(self, most: int) -> Chunk | None:
        """At most `most` more rows; None at the end. Raises BodyBroken."""
        assert self._header is not None
        try:
            while self._batch is None or self._at == self._batch.num_rows:
                self._batch, self._at = next(self._batches, None), 0
                if self._batch is None:
                    self._end()
                    return None
            rows = min(most, self._batch.num_rows - self._at, CHUNK_ROWS)
            chunk = ArrowChunk(self._header, self._batch.slice(self._at, rows), self.line, self._titles.region)
        except (pa.ArrowException, OSError, ValueError) as exc:
            raise BodyBroken(f"row {self.line}: {_said(exc)}", "broken_parquet") from None
        self._at += rows
        self.position += rows
        self.line += rows
        return chunk

    def _end(self) -> None:
        if self.position != (said := self._file.metadata.num_rows):
            raise BodyBroken(f"the file has {self.position} rows, its footer says {said}", "broken_parquet")
        (self._folder / UNPACKED).unlink(missing_ok=True)


class ArrowChunk(Chunk):
    """A record batch's rows."""

    def __init__(self, header: Header, batch: Any, line: int, region: str) -> None:
        super().__init__(header, batch.num_rows)
        self._region = region
        self.begin(batch.num_rows)
        self.lines = array("I", range(line, line + batch.num_rows))
        self._arrays: dict[int, Any] = {}
        self._cells: dict[int, tuple[Any, Any, int, int]] = {}
        self._integers: dict[int, tuple[Any, int, Any, int]] = {}
        for m in header.mapped:
            self._load(m, batch.column(batch.schema.get_field_index(m.title)))

    def where(self, column: int) -> tuple[Any, Any, int, int]:
        return self._cells[column]

    def integers(self, column: int) -> tuple[Any, int, Any, int] | None:
        return self._integers.get(column)

    def cell(self, row: int, column: int) -> bytes:
        if column in self._cells:
            return super().cell(row, column)
        return str(self._arrays[column][row].cast(pa.string()).as_py()).encode()

    def _load(self, m: Mapped, values: Any) -> None:
        values = _simple(values)
        if (numbers := _as_integers(values, m)) is not None:
            validity, octets = numbers.buffers()
            self._arrays[m.column] = numbers
            self._integers[m.column] = (_octets(octets), numbers.type.bit_width // 8, _octets(validity), numbers.offset)
            return
        if pa.types.is_dictionary(values.type):
            self._load_words(m, values)
            return
        texts = _as_texts(values, m, m.rule.region or self._region)
        validity, offsets, heap = texts.buffers()
        cells = array("I", bytes(8 * self.rows))
        _parse_arrow.string_cells(_octets(offsets), _octets(validity), texts.offset, self.rows, cells)
        self._cells[m.column] = (_octets(heap) or memoryview(b"\0"), cells, 1, 0)
        if pa.types.is_list(values.type) and texts.null_count > values.null_count:
            for row in range(self.rows):
                if not texts[row].is_valid and values[row].is_valid:
                    self.reject(row, m, Rejected("nested_value", "a list with something that is no text in it"))

    def _load_words(self, m: Mapped, values: Any) -> None:
        validity, indices = values.indices.buffers()
        _, offsets, heap = values.dictionary.buffers()
        assert values.dictionary.offset == 0
        cells = array("I", bytes(8 * self.rows))
        where = (_octets(offsets), _octets(indices), _octets(validity), values.indices.offset, self.rows)
        _parse_arrow.indexed_cells(*where, cells)
        self._cells[m.column] = (_octets(heap) or memoryview(b"\0"), cells, 1, 0)


def _is_words(kind: Any) -> bool:
    """Whether an array of this kind is read by its dictionary as it is."""
    words = (pa.string(), pa.binary())
    return bool(pa.types.is_dictionary(kind) and kind.index_type == pa.int32() and kind.value_type in words)


def _opened(path: Path, dictionaries: list[str]) -> Any:
    options = {"buffer_size": _BUFFER, "pre_buffer": False, "memory_map": False}
    return pq.ParquetFile(path, read_dictionary=dictionaries, **options)


def _dictionaries(file: Any) -> list[str]:
    """Columns of texts that are all in dictionaries, so that a text is held once however often it stands there."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    return [
        name
        for at, name in enumerate(file.schema_arrow.names)
        if len(file.schema_arrow.names) == file.metadata.num_columns  # nothing nested: columns are leaves
        and file.schema_arrow.types[at] in (pa.string(), pa.large_string(), pa.binary())
        and all(_in_a_dictionary(group.column(at)) for group in groups)
    ]


def _in_a_dictionary(chunk: Any) -> bool:
    return bool(chunk.has_dictionary_page and chunk.total_uncompressed_size < 4 * chunk.num_values + _PIECE // 4)


def _rows_of_batch(group: Any) -> int:
    """So many that a batch is no more than BATCH_OCTETS, taking the group's rows as equal."""
    return max(1, min(CHUNK_ROWS, _BATCH_OCTETS * int(group.num_rows) // max(1, int(group.total_byte_size))))


def _octets(buffer: Any) -> memoryview:
    return memoryview(buffer).cast("B") if buffer is not None and buffer.size else memoryview(b"")


def _pc() -> Any:
    """pyarrow.compute, 0.07 s to load, which plain files do without."""
    import pyarrow.compute

    return pyarrow.compute


def _simple(values: Any) -> Any:
    """Dictionaries and the many kinds of strings, times and integers as one of each."""
    kind = values.type
    if _is_words(kind):
        return values
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind):
        local = _pc().local_timestamp(values) if kind.tz else values
        return _pc().cast(local, pa.date32(), safe=False)
    if pa.types.is_date64(kind):
        return _pc().cast(values, pa.date32())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _pc().cast(values, pa.string())
    if pa.types.is_large_binary(kind):
        return _pc().cast(values, pa.binary())
    if pa.types.is_large_list(kind):
        return _pc().cast(values, pa.list_(pa.string()))
    if pa.types.is_integer(kind) and kind not in (pa.int32(), pa.int64(), pa.uint64()):
        return _pc().cast(values, pa.int64())
    return values


def _as_integers(values: Any, m: Mapped) -> Any:
    """The array that a column of whole numbers or days takes as it is; None when it must be read as text."""
    if m.rule.values or m.field.kind not in _INTEGERS:
        return None
    if m.field.kind == "date":
        return values if values.type == pa.date32() else None
    return values if values.type in (pa.int32(), pa.int64()) else None


def _as_texts(values: Any, m: Mapped, region: str) -> Any:
    """A string array of what CSV cells would say."""
    kind = values.type
    if pa.types.is_list(kind):
        joined = _pc().binary_join(_pc().cast(values, pa.list_(pa.string())), LIST)
        return _pc().if_else(_pc().equal(joined, ""), joined, _pc().binary_join_element_wise(LIST, joined, ""))
    if pa.types.is_floating(kind):
        return _of_floats(values)
    if kind in (pa.binary(), pa.string()):
        return values
    texts = _pc().cast(values, pa.string())
    if m.field.kind == "phone" and pa.types.is_integer(kind) and not region:
        return _pc().binary_join_element_wise("+", texts, "")  # digits alone can only be E.164
    return texts


def _of_floats(values: Any) -> Any:
    """Whole numbers without a point, as pandas writes integers where some are unknown."""
    whole = _pc().and_(_pc().equal(_pc().floor(values), values), _pc().less(_pc().abs(values), 2.0**53))
    whole = _pc().fill_null(whole, False)
    integers = _pc().cast(_pc().if_else(whole, values, None), pa.int64())
    return _pc().if_else(whole, _pc().cast(integers, pa.string()), _pc().cast(values, pa.string()))


def _unsupported(kind: Any, m: Mapped) -> str | None:
    """What a column is that its field cannot take; None when it can."""
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_list(kind) or types.is_large_list(kind):
        inner = kind.value_type
        texts = types.is_string(inner) or types.is_large_string(inner) or types.is_null(inner)
        return None if texts and m.field.kind == "tags" else f"{kind}; only tags take a list, one of texts"
    plain = [types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_date, types.is_null]
    plain += [types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_string_view]
    if types.is_timestamp(kind):
        return None if m.field.kind in ("date", "month_day") else f"{kind}; only a date field takes a time"
    return None if any(is_kind(kind) for is_kind in plain) else f"{kind}, which is no single value"


def _said(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:300]
