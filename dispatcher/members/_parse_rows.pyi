from typing import Any

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
