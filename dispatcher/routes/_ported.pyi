"""Typed names of the compiled reader."""

class PortedLines:
    networks: list[bytes]
    wrong: list[tuple[int, int, bytes, bytes]]
    lines: int
    rejected: int
    def __init__(self, kept: int) -> None: ...
    def feed(self, octets: bytes) -> None: ...
    def finish(self) -> bytearray: ...
