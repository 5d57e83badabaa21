from collections.abc import Callable
from typing import Any

from dispatcher.members._parse_codes import Codes

def cut_objects(
    data: bytearray,
    start: int,
    end: int,
    final: bool,
    keys: Codes,
    learn: Callable[[bytes], None],
    lists: bytes,
    cells: Any,
    lines: Any,
    number: int,
    row_octets_max: int,
    bad: list[tuple[int, int, int, int, int, int]],
) -> tuple[int, int, int]: ...
