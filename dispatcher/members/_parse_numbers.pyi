from typing import Any

PHONE: int
DATE: int
INT: int
MONEY: int
POINTS: int

def numbers(kind: int, *chunk_and_arrays: Any) -> int: ...
