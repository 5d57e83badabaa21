from typing import Any

class Rows:
    count: int

def changed_rows(
    table: Any, prefix: bytes, page_octets: int, before: Rows | None
) -> tuple[Rows, bytearray, bytearray | None] | None: ...
def gathered(
    rows: bytearray,
    kind: int,
    id: int,
    given: bool,
    changes: Rows,
    came: bytearray | None,
    old: bytes | None,
) -> tuple[bytearray, bytes, bytes]: ...
