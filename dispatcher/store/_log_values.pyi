"""Typed names of the cutting of log values."""

Octets = bytes | bytearray | memoryview

def split(value: Octets, most: int) -> list[Octets]: ...
