"""Members as Parquet: a row group for about every 64,000 of them, given out as it is written.

Touches: memory of one row group. Rests on: pyarrow, the extra volley[parquet].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dispatcher.errors import CommandRefused
from dispatcher.members.export_cells import money_text
from dispatcher.members.fields import Field

try:
    import pyarrow
    import pyarrow.parquet
except ImportError as exc:  # pragma: no cover
    raise CommandRefused(501, "parquet_missing", "Parquet needs pyarrow: pip install 'volley[parquet]'") from exc

GROUP_ROWS = 65_536


class Parquet:
    """phone, text, dict, money, month_day: string; int and points: int64; date: date32; bool; tags: list of string."""

    def __init__(self, fields: Sequence[Field]) -> None:
        types = {
            "int": pyarrow.int64(),
            "points": pyarrow.int64(),
            "date": pyarrow.date32(),
            "bool": pyarrow.bool_(),
            "tags": pyarrow.list_(pyarrow.string()),
        }
        self._schema = pyarrow.schema([(field.name, types.get(field.kind, pyarrow.string())) for field in fields])
        self._sink = _Sink()
        self._writer = pyarrow.parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._batches: list[Any] = []
        self._waiting = 0

    def head(self) -> bytes:
        return self._sink.take()

    def rows(self, fields: Sequence[Field], columns: list[list[Any]]) -> bytes:
        arrays = [
            pyarrow.array(_stored(field, values), type=kind)
            for field, values, kind in zip(fields, columns, self._schema.types, strict=True)
        ]
        self._batches.append(pyarrow.record_batch(arrays, schema=self._schema))
        self._waiting += len(columns[0])
        return self._group() if self._waiting >= GROUP_ROWS else b""

    def tail(self) -> bytes:
        last = self._group() if self._batches else b""
        self._writer.close()
        return last + self._sink.take()

    def _group(self) -> bytes:
        self._writer.write_table(pyarrow.Table.from_batches(self._batches), row_group_size=self._waiting)
        self._batches, self._waiting = [], 0
        return self._sink.take()


class _Sink:
    """A file that keeps only what was not taken yet."""

    closed = False

    def __init__(self) -> None:
        self._octets = bytearray()
        self._at = 0

    def write(self, octets: bytes) -> int:
        self._octets += octets
        self._at += len(octets)
        return len(octets)

    def take(self) -> bytes:
        taken, self._octets = bytes(self._octets), bytearray()
        return taken

    def tell(self) -> int:
        return self._at

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def seekable(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def _stored(field: Field, values: list[Any]) -> list[Any]:
    if field.kind == "phone":
        return [f"+{value}" if isinstance(value, int) else value for value in values]
    if field.kind == "money":
        return [None if value is None else money_text(value) for value in values]
    return values
