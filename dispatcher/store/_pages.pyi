"""Typed names of the cleaning of pages."""

def cleaned(
    octets: bytearray | memoryview, page_octets: int, first: int, free: bytes | bytearray, within: int
) -> int: ...
