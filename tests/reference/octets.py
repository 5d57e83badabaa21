"""What text/_octets means, in plain Python."""

from dispatcher.text.alphabet import GSM7


def cleaned(text: str) -> str:
    return "".join(" " if c in "\0\x1b" or 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


def encode(text: str) -> tuple[int, bytes]:
    text = cleaned(text)
    if all(character in GSM7 for character in text):
        return 0, b"".join(GSM7[character] for character in text)
    return 8, text.encode("utf-16-be")


def units(data_coding: int, octets: bytes) -> list[bytes]:
    """What must not be cut: a septet, a pair of them, or one UTF-16 character."""
    if data_coding == 8:
        return [character.encode("utf-16-be") for character in octets.decode("utf-16-be")]
    found, at = [], 0
    while at < len(octets):
        width = 2 if octets[at] == 0x1B else 1
        found.append(octets[at : at + width])
        at += width
    return found


def split(data_coding: int, octets: bytes) -> list[bytes]:
    alone, each = (140, 134) if data_coding == 8 else (160, 153)
    if len(octets) <= alone:
        return [octets]
    parts = [b""]
    for unit in units(data_coding, octets):
        if len(parts[-1]) + len(unit) > each:
            parts.append(b"")
        parts[-1] += unit
    return parts


def make_parts(text: str, ref: int) -> list[tuple[int, int, bytes]]:
    """(esm_class, data_coding, short_message) of each part."""
    data_coding, octets = encode(text)
    cut = split(data_coding, octets)
    if len(cut) == 1:
        return [(0, data_coding, octets)]
    return [(0x40, data_coding, bytes([5, 0, 3, ref % 256, len(cut), no]) + part) for no, part in enumerate(cut, 1)]
