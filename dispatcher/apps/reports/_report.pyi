"""Typed names of the compiled sums."""

from typing import Any

Octets = bytes | bytearray | memoryview
Table = Any  # a memoryview of u64 or u32 with the shape that the kernel asks for

def span(decision: Octets, submit: Octets, final_: Octets) -> tuple[int, int, int]: ...
def tally(
    decision: Octets,
    state: Octets,
    error: Octets,
    submit: Octets,
    final_: Octets,
    begin_s: int,
    bucket_s: int,
    line: Table,
    delays: Table,
    errors: Table,
    since_s: int,
) -> int: ...
def day(
    decision: Octets,
    state: Octets,
    parts: Octets,
    submit: Octets,
    final_: Octets,
    begin_s: int,
    end_s: int,
    since_s: int,
    counts: Table,
) -> int: ...
def answers(value: Octets, campaign: int, table: Table) -> None: ...
