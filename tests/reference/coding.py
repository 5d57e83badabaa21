"""What text/_octets means, in plain Python: a text in the first alphabet that has all of it, cut between graphemes."""

import re
import zlib
from dataclasses import dataclass

from dispatcher.text.alphabet import GSM7
from dispatcher.text.coding import ASCII, LATIN1, Coding
from dispatcher.text.graphemes import graphemes
from dispatcher.text.national import septets_of
from dispatcher.text.transliterate import look_alikes, transliterate

# what this file says and the kernel must: (esm_class, data_coding, octets, told, ref)
Made = tuple[int, int, bytes, int, int]


def cleaned(text: str) -> str:
    return "".join(" " if c in "\0\x1b" or 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


@dataclass(frozen=True)
class Said:
    """`pieces` are the octets of what must not be cut."""

    encoding: str
    data_coding: int
    pieces: tuple[bytes, ...]
    elements: bytes = b""

    packed: bool = False

    @property
    def octets(self) -> bytes:
        return b"".join(self.pieces)


def say(text: str, coding: Coding, message_class: int | None = None, alikes: str | None = None) -> Said | None:
    """`alikes`: the same text with stand-ins, where those are wished for. None: the endpoint has no alphabet for it."""
    text = cleaned(text)
    gsm = 0 if message_class is None else 0xF0 | message_class
    packed = coding.default_alphabet == "gsm_packed"
    if coding.default_alphabet == "gsm" or packed or message_class is not None:
        if set(text) <= GSM7.keys():
            return Said("GSM7", gsm, in_table(text, GSM7), packed=packed)
        for single, locking in ((coding.single_shift, 0), (coding.single_shift, coding.locking_shift)):
            table = septets_of(single, locking) if single or locking else GSM7
            if set(text) <= table.keys():
                elements = bytes((0x24, 1, single)) if single else b""
                elements += bytes((0x25, 1, locking)) if locking else b""
                return Said("GSM7", gsm, in_table(text, table), elements, packed)
        if alikes is not None and set(cleaned(alikes)) <= GSM7.keys():
            return Said("GSM7", gsm, in_table(cleaned(alikes), GSM7), packed=packed)
    elif coding.default_alphabet == "ascii" and set(text) <= ASCII.keys():
        return Said("ASCII", 0, in_table(text, ASCII))
    default = coding.default_alphabet == "latin1"
    if message_class is None and (coding.latin1 or default) and set(text) <= LATIN1.keys():
        return Said("LATIN1", 0 if default else 3, in_table(text, LATIN1))
    if not coding.ucs2:
        return None
    ucs2 = 8 if message_class is None else 0x18 | message_class
    return Said("UCS2", ucs2, tuple(piece.encode("utf-16-be") for piece in graphemes(text)))


def alike(text: str) -> str:
    """A whole text with stand-ins."""
    return transliterate(text) if "://" in text or "www." in text.lower() else alike_value(text)


def alike_value(text: str) -> str:
    return "".join(look_alikes().get(c, c) for c in text)


def in_table(text: str, table: dict[str, bytes]) -> tuple[bytes, ...]:
    return tuple(b"".join(table[character] for character in piece) for piece in graphemes(text))


def room(encoding: str, elements_octets: int) -> int:
    udh = elements_octets + 1 if elements_octets else 0
    if encoding in ("GSM7", "ASCII"):
        return (140 - udh) * 8 // 7
    return (140 - udh) // 2 * 2 if encoding == "UCS2" else 140 - udh


def split(said: Said, coding: Coding) -> list[bytes]:
    """The pieces, put into as few parts as hold them in order. One that no part holds begins a part and is cut, never
    within a pair."""
    if len(said.octets) <= room(said.encoding, len(said.elements)):
        return [said.octets]
    most = room(said.encoding, (6 if coding.long_as == "udh16" else 5) + len(said.elements))
    found = [b""]
    for piece in said.pieces:
        if len(piece) > most and found[-1]:
            found.append(b"")
        for atom in (piece,) if len(piece) <= most else atoms(said.encoding, piece):
            if len(found[-1]) + len(atom) > most:
                found.append(b"")
            found[-1] += atom
    return found


def atoms(encoding: str, piece: bytes) -> list[bytes]:
    if encoding == "UCS2":
        return [character.encode("utf-16-be") for character in piece.decode("utf-16-be")]
    return re.findall(rb"(?s)\x1b?.", piece)


def made(said: Said, coding: Coding, ref: int) -> list[Made]:
    bodies = split(said, coding)
    total = len(bodies)
    if total > 1 and coding.long_as == "payload" and not said.elements:
        return [(0, said.data_coding, carried(said, said.octets, b""), 2, 0)]
    found = []
    for no, body in enumerate(bodies, 1):
        elements = said.elements
        if total > 1 and coding.long_as == "udh16":
            elements = bytes((8, 4, ref >> 8 & 0xFF, ref & 0xFF, total, no)) + elements
        elif total > 1 and coding.long_as != "sar":
            elements = bytes((0, 3, ref & 0xFF, total, no)) + elements
        udh = bytes((len(elements),)) + elements if elements else b""
        sar = total > 1 and coding.long_as == "sar"
        found.append(
            (0x40 if udh else 0, said.data_coding, udh + carried(said, body, udh), int(sar), ref & 0xFF if sar else 0)
        )
    return found


def carried(said: Said, body: bytes, udh: bytes) -> bytes:
    """Septets packed as a string of bits, the lowest of each first; the first begins at a multiple of seven."""
    if not said.packed or not body:
        return body
    bits = "0" * (-8 * len(udh) % 7) + "".join(f"{septet:07b}"[::-1] for septet in body)
    spare = -len(bits) % 8
    bits += f"{13:07b}"[::-1] if spare == 7 else "0" * spare
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def text_hash(said: Said, parts: list[Made]) -> int:
    """Of what the parts carry without their headers, joined."""
    if not said.packed:
        return zlib.crc32(said.octets)
    return zlib.crc32(b"".join(octets[octets[0] + 1 if esm_class else 0 :] for esm_class, _, octets, *_ in parts))


def encode(text: str) -> tuple[int, bytes]:
    said = say(text, Coding())
    assert said is not None
    return said.data_coding, said.octets
