"""Typed names of the compiled deal."""

from typing import Any

Octets = bytes | bytearray | memoryview
Numbers = Any  # array("Q"), array("I"), array("H") as the names say

class Deal:
    strata: int
    columns: int
    def __init__(self, held_seed: int, seed: int, strata: int, bounds: Numbers) -> None: ...
    def split(self, bitmap: Octets, first_no: int, out: bytearray, codes: Octets = b"", width: int = 0) -> None: ...
    def tally(
        self, bitmap: Octets, first_no: int, held: bool, bits: int, counts: Numbers, codes: Octets = b"", width: int = 0
    ) -> None: ...
    def gather(
        self,
        bitmap: Octets,
        first_no: int,
        held: bool,
        bits: int,
        wanted: Octets,
        hashes: Numbers,
        whose: Numbers,
        at: int,
        codes: Octets = b"",
        width: int = 0,
    ) -> int: ...

def count(audience: Octets, chosen: Octets, decision: Octets, state: Octets, counts: Numbers) -> None: ...
def pick(audience: Octets, decision: Octets, wanted: int, out: bytearray) -> int: ...
