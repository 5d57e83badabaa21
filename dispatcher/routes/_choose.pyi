"""Typed names of the compiled choice."""

Octets = bytes | bytearray | memoryview

class Chooser:
    outs: int
    def __init__(
        self,
        starts: list[int],
        of: list[int],
        nodes: list[tuple[int, int, int]],
        groups: list[list[tuple[int, int]]],
        network_group: list[int],
        outs: int,
        nobody: int,
    ) -> None: ...
    def choose(self, numbers: Octets, todo: Octets, ported: list[memoryview], out: bytearray | memoryview) -> None: ...
