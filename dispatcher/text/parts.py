"""Long messages: the parts of a text with their UDH, never cutting a character.

Rests on: 3GPP TS 23.040 9.2.3.24.1 (concatenation, 8-bit reference); SMPP 3.4 5.2.12 (esm_class bit 6, UDHI).
Weak spot: a grapheme of several characters (a flag, an emoji joined by ZWJ) may still be cut between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dispatcher.errors import DispatcherError
from dispatcher.text.alphabet import DATA_CODING_UCS2, outside_gsm7
from dispatcher.text.octets import MAX_PARTS, cuts, encode

ESM_CLASS_UDHI = 0x40
UDH_OCTETS = 6
SEPTETS_ALONE, SEPTETS_A_PART = 160, 153
UNITS_ALONE, UNITS_A_PART = 70, 67


@dataclass(frozen=True, slots=True)
class Part:
    """What one submit_sm carries of a text. `octets` is the short_message, UDH included."""

    esm_class: int
    data_coding: int
    octets: bytes
    tlvs: tuple[tuple[int, bytes], ...] = ()  # where no UDH tells the parts (coding.py)
    udh_octets: int = 0  # of `octets`; 0 too where `esm_class` has no UDHI


class TextTooLong(DispatcherError):
    """A text of more than `limit` parts; it is refused, never cut short."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the text needs more than {limit} parts")
        self.limit = limit


def parts(text: str, ref: int, max_parts: int = MAX_PARTS) -> list[Part]:
    """The parts of `text`, in order, all under the reference `ref` (taken modulo 256; 0 is legal).

    Raises TextTooLong above `max_parts`.
    """
    data_coding, octets = encode(text)
    ends = cuts(octets, data_coding == DATA_CODING_UCS2, max_parts)
    if not ends:
        raise TextTooLong(max_parts)
    if len(ends) == 1:
        return [Part(0, data_coding, octets)]
    return [
        Part(ESM_CLASS_UDHI, data_coding, bytes((5, 0, 3, ref & 0xFF, len(ends), no)) + octets[begin:end], (), 6)
        for no, (begin, end) in enumerate(zip([0, *ends], ends, strict=False), 1)
    ]


def describe(text: str) -> dict[str, Any]:
    """What a text costs, for a meter: alphabet, units, parts (0: above 255), units left in the last part.

    A unit is a septet of "gsm7" or 16 bits of "ucs2". `forced_by`: the first characters that are not GSM 7-bit.
    """
    data_coding, octets = encode(text)
    ucs2 = data_coding == DATA_CODING_UCS2
    width = 2 if ucs2 else 1
    ends = cuts(octets, ucs2)
    alone, each = (UNITS_ALONE, UNITS_A_PART) if ucs2 else (SEPTETS_ALONE, SEPTETS_A_PART)
    last = (len(octets) - (ends[-2] if len(ends) > 1 else 0)) // width
    return {
        "alphabet": "ucs2" if ucs2 else "gsm7",
        "units": len(octets) // width,
        "parts": len(ends),
        "left": (each if len(ends) > 1 else alone) - last if ends else 0,
        "forced_by": outside_gsm7(text)[:10] if ucs2 else [],
    }
