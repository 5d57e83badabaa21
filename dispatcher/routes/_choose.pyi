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

def sort_entries(entries: bytearray | memoryview) -> int: ...
def read_lines(
    octets: Octets, networks: dict[bytes, int], entries: bytearray, wrong: list[tuple[int, bytes]], line: int
) -> tuple[int, int]: ...
