from typing import Any

PHONE: int
DATE: int
INT: int
MONEY: int
POINTS: int

class Codes:
    def __len__(self) -> int: ...
    def learn(self, cell: bytes, value: int) -> None: ...

def cut(
    data: bytearray,
    start: int,
    end: int,
    final: bool,
    delimiter: int,
    columns: int,
    cells: Any,
    lines: Any,
    line: int,
    row_octets_max: int,
    bad: list[tuple[int, int, int, int]],
) -> tuple[int, int, int]: ...
def numbers(kind: int, *chunk_and_arrays: Any) -> int: ...
def codes(table: Codes, *chunk_and_arrays: Any) -> int: ...
def texts(*chunk_and_arrays: Any) -> int: ...
def heap_of(
    data: bytearray, cells: Any, columns: int, column: int, rows: int, ok: bytearray, base: int, ends: Any
) -> bytes: ...
def compact(array: Any, width: int, ok: bytearray, rows: int) -> bytes: ...
