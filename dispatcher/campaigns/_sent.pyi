"""Typed names of the compiled bitmap of who is sent to."""

Octets = bytes | bytearray | memoryview

def sent_slots(rows: Octets, n: int, first_member_no: int, out: bytearray) -> None: ...
