"""What Arrow's buffers mean: members/_parse_arrow.pyx, one row at a time."""

from __future__ import annotations


def is_there(validity: bytes, row: int) -> bool:
    return not validity or bool(validity[row // 8] >> row % 8 & 1)


def string_cells(offsets: bytes, validity: bytes, offset: int, rows: int) -> list[tuple[int, int]]:
    """(start, end) of each row's string; the same twice where there is none."""
    found = []
    for row in range(offset, offset + rows):
        start, end = (int.from_bytes(offsets[4 * i : 4 * i + 4], "little", signed=True) for i in (row, row + 1))
        found.append((start, end if is_there(validity, row) else start))
    return found


def indexed_cells(offsets: bytes, indices: bytes, validity: bytes, offset: int, rows: int) -> list[tuple[int, int]]:
    """(start, end) of each row's string of a dictionary; (0, 0) where there is none."""
    strings = string_cells(offsets, b"", 0, len(offsets) // 4 - 1)
    found = []
    for row in range(offset, offset + rows):
        index = int.from_bytes(indices[4 * row : 4 * row + 4], "little", signed=True)
        found.append(strings[index] if is_there(validity, row) else (0, 0))
    return found


def integers(
    values: bytes, octets: int, validity: bytes, offset: int, rows: int, least: int, most: int
) -> list[int | str | None]:
    """Each row's number; None where there is none, "odd" outside least .. most."""
    found: list[int | str | None] = []
    for row in range(offset, offset + rows):
        number = int.from_bytes(values[octets * row : octets * (row + 1)], "little", signed=True)
        found.append(None if not is_there(validity, row) else number if least <= number <= most else "odd")
    return found
