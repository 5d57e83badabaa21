"""A text to parts the way one endpoint wants them: alphabet, national tables, how long texts are told, class.

Touches: nothing. Rests on: TS 23.038 (alphabets, classes), TS 23.040 9.2.3.24 (UDH), SMPP 3.4 5.3.2.22 to 24 (SAR),
5.3.2.32 (message_payload), SMPP_FACTS 11. With Coding() the octets are the kernels' (octets.py), but for one thing:
the kernels keep surrogates and ESC pairs whole, this keeps whole graphemes. Weak spot: Latin-1 parts are counted as
octets, 140 alone, although an SMSC that puts them into GSM 7-bit might take 160.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dispatcher.text.alphabet import DATA_CODING_GSM7, DATA_CODING_UCS2, GSM7, clean
from dispatcher.text.decode import IE_CONCAT_8, IE_CONCAT_16
from dispatcher.text.graphemes import graphemes
from dispatcher.text.national import IE_LOCKING_SHIFT, IE_SINGLE_SHIFT, LANGUAGES, LOCKING, SINGLE, septets_of
from dispatcher.text.octets import MAX_PARTS
from dispatcher.text.parts import ESM_CLASS_UDHI, Part, TextTooLong

DATA_CODING_LATIN1 = 0x03
TAG_SAR_MSG_REF_NUM, TAG_SAR_TOTAL_SEGMENTS, TAG_SAR_SEGMENT_SEQNUM = 0x020C, 0x020E, 0x020F
TAG_MESSAGE_PAYLOAD = 0x0424
PAYLOAD_OCTETS_MAX = 64_000  # 64 KiB is a TLV's own limit; most SMSCs stop at MAX_PARTS parts
USER_DATA_OCTETS = 140  # TS 23.040 9.2.3.16, the UDH included
ALPHABETS = ("gsm", "latin1")
LONG_AS = ("udh", "udh16", "sar", "payload")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How one endpoint takes texts."""

    default_alphabet: str = "gsm"  # what data_coding 0 is there: "gsm" or "latin1"
    latin1: bool = False  # whether data_coding 3 is tried before UCS-2
    single_shift: int = 0  # national tables tried before UCS-2, by their language; 0: none
    locking_shift: int = 0
    long_as: str = "udh"  # "udh" 8-bit reference, "udh16", "sar" TLVs, "payload": the SMSC cuts

    def __post_init__(self) -> None:
        if self.default_alphabet not in ALPHABETS:
            raise ValueError(f"default_alphabet {self.default_alphabet!r}: one of {', '.join(ALPHABETS)}")
        if self.long_as not in LONG_AS:
            raise ValueError(f"long_as {self.long_as!r}: one of {', '.join(LONG_AS)}")
        for name, tables in (("single_shift", SINGLE), ("locking_shift", LOCKING)):
            language = getattr(self, name)
            if language and language not in tables:
                known = ", ".join(f"{number} {LANGUAGES[number]}" for number in sorted(tables) if number)
                raise ValueError(f"{name} {language}: 0 for none, or {known}")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text in one alphabet. `pieces` are the octets of what must not be cut."""

    encoding: str  # GSM7, LATIN1 or UCS2
    data_coding: int
    pieces: tuple[bytes, ...]
    udh: bytes = b""  # elements that name national tables

    @property
    def octets(self) -> bytes:
        return b"".join(self.pieces)


def encode_as(text: str, coding: Coding, message_class: int | None = None) -> Encoded:
    """`text` in the first alphabet that has all of it: GSM 7-bit, its national tables, Latin-1, UCS-2.

    NUL, ESC and lone surrogates are sent as spaces. `message_class` 0 is flash; Latin-1 has no classes.
    """
    pieces = graphemes(clean(text))
    characters = set("".join(pieces))
    gsm = DATA_CODING_GSM7 if message_class is None else 0xF0 | message_class
    if coding.default_alphabet == "gsm" or message_class is not None:
        if characters <= GSM7.keys():
            return Encoded("GSM7", gsm, _in_table(pieces, GSM7))
        for single, locking in dict.fromkeys(((coding.single_shift, 0), (coding.single_shift, coding.locking_shift))):
            table = septets_of(single, locking) if single or locking else GSM7
            if characters <= table.keys():
                shifts = ((IE_SINGLE_SHIFT, single), (IE_LOCKING_SHIFT, locking))
                udh = b"".join(bytes((element, 1, language)) for element, language in shifts if language)
                return Encoded("GSM7", gsm, _in_table(pieces, table), udh)
    by_default = coding.default_alphabet == "latin1"
    if message_class is None and (coding.latin1 or by_default) and all(c < "\u0100" for c in characters):
        data_coding = DATA_CODING_GSM7 if by_default else DATA_CODING_LATIN1
        return Encoded("LATIN1", data_coding, tuple(piece.encode("latin-1") for piece in pieces))
    ucs2 = DATA_CODING_UCS2 if message_class is None else 0x18 | message_class
    return Encoded("UCS2", ucs2, tuple(piece.encode("utf-16-be") for piece in pieces))


def parts_as(
    text: str, coding: Coding, ref: int, *, message_class: int | None = None, max_parts: int = MAX_PARTS
) -> list[Part]:
    """The parts of `text`, in order. `ref` is taken modulo its width; of "sar" modulo 256, for SMSCs that make an
    8-bit UDH of it. Raises TextTooLong above `max_parts`."""
    encoded = encode_as(text, coding, message_class)
    alone = _fill(encoded, len(encoded.udh))
    if len(alone) <= 1:
        return [_part(encoded, encoded.udh, alone[0] if alone else b"")]
    if coding.long_as == "payload" and not encoded.udh:
        octets = encoded.octets
        if len(octets) > PAYLOAD_OCTETS_MAX or len(_fill(encoded, 5)) > max_parts:
            raise TextTooLong(max_parts)
        return [Part(0, encoded.data_coding, b"", ((TAG_MESSAGE_PAYLOAD, octets),))]
    wide = coding.long_as == "udh16"
    bodies = _fill(encoded, (6 if wide else 5) + len(encoded.udh))
    if len(bodies) > max_parts:
        raise TextTooLong(max_parts)
    total = len(bodies)
    if coding.long_as == "sar":
        ref &= 0xFF
        return [_part(encoded, encoded.udh, body, _sar(ref, total, no)) for no, body in enumerate(bodies, 1)]
    head = bytes((IE_CONCAT_16, 4, ref >> 8 & 0xFF, ref & 0xFF)) if wide else bytes((IE_CONCAT_8, 3, ref & 0xFF))
    return [_part(encoded, head + bytes((total, no)) + encoded.udh, body) for no, body in enumerate(bodies, 1)]


def _in_table(pieces: list[str], table: dict[str, bytes]) -> tuple[bytes, ...]:
    return tuple(b"".join(table[character] for character in piece) for piece in pieces)


def _room(encoding: str, elements_octets: int) -> int:
    """Octets of text that one short_message holds beside a UDH with so many octets of elements."""
    udh = elements_octets + 1 if elements_octets else 0
    if encoding == "GSM7":
        return (USER_DATA_OCTETS - udh) * 8 // 7
    return (USER_DATA_OCTETS - udh) // 2 * 2 if encoding == "UCS2" else USER_DATA_OCTETS - udh


def _fill(encoded: Encoded, elements_octets: int) -> list[bytes]:
    """The pieces, put into as few parts as hold them in order. One that no part holds is cut, never within a pair."""
    room = _room(encoded.encoding, elements_octets)
    found: list[bytearray] = []
    for piece in encoded.pieces:
        for atom in (piece,) if len(piece) <= room else _atoms(encoded.encoding, piece):
            if not found or len(found[-1]) + len(atom) > room:
                found.append(bytearray())
            found[-1] += atom
    return [bytes(part) for part in found]


def _atoms(encoding: str, piece: bytes) -> list[bytes]:
    """A grapheme of more than a part, character by character."""
    if encoding == "UCS2":
        return [character.encode("utf-16-be") for character in piece.decode("utf-16-be")]
    return re.findall(rb"(?s)\x1b?.", piece)


def _part(encoded: Encoded, elements: bytes, body: bytes, tlvs: tuple[tuple[int, bytes], ...] = ()) -> Part:
    udh = bytes((len(elements),)) + elements if elements else b""
    return Part(ESM_CLASS_UDHI if udh else 0, encoded.data_coding, udh + body, tlvs, len(udh))


def _sar(ref: int, total: int, no: int) -> tuple[tuple[int, bytes], ...]:
    return (
        (TAG_SAR_MSG_REF_NUM, ref.to_bytes(2)),
        (TAG_SAR_TOTAL_SEGMENTS, bytes((total,))),
        (TAG_SAR_SEGMENT_SEQNUM, bytes((no,))),
    )
