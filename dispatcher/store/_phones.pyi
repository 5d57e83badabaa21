from collections.abc import Callable
from typing import Any

def look_up(
    set_key: Callable[[bytes], bool],
    value_at: Callable[[], Any],
    tenant: int,
    ordered: Any,
    start: int,
    end: int,
    found: Any,
    marks: bytes | bytearray | None = None,
) -> int: ...
def fitting(
    set_range: Callable[[bytes], bool],
    key_at: Callable[[], Any],
    tenant: int,
    numbers: Any,
    count: int,
    page_octets: int,
    most: int,
) -> tuple[int, int]: ...
def place_of(ordered: Any, start: int, end: int, group: int) -> tuple[int, int]: ...
