from typing import Any

def string_cells(offsets: Any, validity: Any, offset: int, rows: int, cells: Any) -> None: ...
def indexed_cells(offsets: Any, indices: Any, validity: Any, offset: int, rows: int, cells: Any) -> None: ...
def integers(
    values: Any,
    octets: int,
    validity: Any,
    offset: int,
    rows: int,
    ok: bytearray,
    given: Any,
    bit: int,
    out: bytearray,
    width: int,
    unknown: int,
    least: int,
    most: int,
    odd: Any,
) -> int: ...
