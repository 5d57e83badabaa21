"""Typed names of what became of messages."""

from typing import Any

Octets = bytes | bytearray | memoryview

def hits(
    octets: Octets,
    wanted: bytes,
    times: Octets,
    instead: Octets,
    low: int,
    high: int,
    out: bytearray | memoryview,
) -> int: ...
def deposit(audience: Octets, bits: Octets, first: int, out: bytearray | memoryview) -> None: ...
def tally(audience: Octets, bits: Octets, first: int, counts: Any) -> None: ...
def within(counts: Any, low: int, high: int, out: bytearray | memoryview) -> int: ...
def claim_replies(
    audience: Octets,
    decisions: Octets,
    submits: Octets,
    sent: int,
    slots: Any,
    heard: Any,
    best: Any,
    whose: Any,
    number: int,
    reach_s: int,
) -> None: ...
