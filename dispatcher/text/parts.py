"""Long messages: the parts of a text as an endpoint wants them told, never cutting what belongs together.

Touches: nothing. Rests on: coding.py; 3GPP TS 23.040 9.2.3.24 (concatenation); SMPP 3.4 5.2.12 (esm_class bit 6, UDHI).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from dispatcher.errors import DispatcherError
from dispatcher.text.alphabet import outside_gsm7
from dispatcher.text.coding import Coding, Encoder, encoder, usual
from dispatcher.text.national import LOCKING, SINGLE
from dispatcher.text.octets import MAX_PARTS

ESM_CLASS_UDHI = 0x40
SEPTETS_ALONE, SEPTETS_A_PART = 160, 153
UNITS_ALONE, UNITS_A_PART = 70, 67
TAG_SAR_MSG_REF_NUM, TAG_SAR_TOTAL_SEGMENTS, TAG_SAR_SEGMENT_SEQNUM = 0x020C, 0x020E, 0x020F
TAG_MESSAGE_PAYLOAD = 0x0424


@dataclass(frozen=True, slots=True)
class Part:
    """What one submit_sm carries of a text. `octets` is the short_message, UDH included."""

    esm_class: int
    data_coding: int
    octets: bytes
    tlvs: tuple[tuple[int, bytes], ...] = ()  # where no UDH tells the parts
    udh_octets: int = 0  # of `octets`; 0 too where `esm_class` has no UDHI


class Billing(Protocol):
    """What a market bills (tenants/profile.py): one up to `first` characters, above it one for each `more`, whatever
    the alphabet. A character is a UTF-16 unit."""

    @property
    def first(self) -> int: ...
    @property
    def more(self) -> int: ...


class TextTooLong(DispatcherError):
    """A text of more than `limit` parts; it is refused, never cut short."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the text needs more than {limit} parts")
        self.limit = limit


def parts(text: str, ref: int, max_parts: int = MAX_PARTS) -> list[Part]:
    """The parts of `text` as most endpoints take them: GSM 7-bit or UCS-2, all under the 8-bit reference `ref` (taken
    modulo 256; 0 is legal). Raises TextTooLong above `max_parts`."""
    return parts_by(usual(), text, ref, max_parts)


def parts_as(
    text: str,
    coding: Coding,
    ref: int,
    *,
    message_class: int | None = None,
    transliterate: bool = False,
    max_parts: int = MAX_PARTS,
) -> list[Part]:
    """The parts of `text`, in order, as an endpoint takes them. Raises NotSayable; TextTooLong above `max_parts`."""
    return parts_by(encoder(coding, message_class, transliterate), text, ref, max_parts)


def parts_by(by: Encoder, text: str, ref: int, max_parts: int = MAX_PARTS) -> list[Part]:
    """`ref` is taken modulo its width; of SAR modulo 256, for SMSCs that make an 8-bit UDH of it."""
    which, octets = by.encode(text)
    ends = by.cuts(which, octets, max_parts)
    if not ends:
        raise TextTooLong(max_parts)
    alphabet, total = by.alphabets[which], len(ends)
    long_as = by.coding.long_as
    if long_as == "payload" and total > 1 and not alphabet.elements:
        return [Part(0, alphabet.data_coding, b"", ((TAG_MESSAGE_PAYLOAD, by.kernel.body(which, octets)),))]
    found = []
    for no, (begin, end) in enumerate(zip([0, *ends], ends, strict=False), 1):
        udh = by.kernel.udh(which, ref & 0xFFFF, total, no)
        tlvs = _sar(ref & 0xFF, total, no) if long_as == "sar" and total > 1 else ()
        esm_class = ESM_CLASS_UDHI if udh else 0
        body = by.kernel.body(which, octets[begin:end], len(udh))
        found.append(Part(esm_class, alphabet.data_coding, udh + body, tlvs, len(udh)))
    return found


def fits_somewhere(text: str, max_parts: int) -> bool:
    """Whether any endpoint could take `text` in so many parts: by look-alikes, in Latin-1 or by a national table."""
    if any(_fits(encoder(Coding(latin1=not like), None, like), text, max_parts) for like in (True, False)):
        return True
    return any(
        _fits(encoder(Coding(single_shift=language, locking_shift=language * (language in LOCKING))), text, max_parts)
        for language in SINGLE
        if language
    )


def _fits(by: Encoder, text: str, max_parts: int) -> bool:
    return bool(by.cuts(*by.encode(text), max_parts))


def billed(by: Encoder, text: str, billing: Billing | None, max_parts: int = MAX_PARTS) -> int:
    """What is paid for: by the market's rule, else the parts that phones get; 0 above `max_parts`."""
    which, octets = by.encode(text)
    segments = len(by.cuts(which, octets, max_parts))
    if not billing or not segments:
        return segments
    units = by.kernel.units(which, octets)
    return 1 if units <= billing.first else -(-units // billing.more)


def describe(text: str) -> dict[str, Any]:
    """What a text costs, for a meter: alphabet, units, parts (0: above 255), units left in the last part.

    A unit is a septet of "gsm7" or 16 bits of "ucs2". `forced_by`: the first characters that are not GSM 7-bit.
    """
    by = usual()
    which, octets = by.encode(text)
    ucs2 = by.alphabets[which].table is None
    width = 2 if ucs2 else 1
    ends = by.cuts(which, octets)
    alone, each = (UNITS_ALONE, UNITS_A_PART) if ucs2 else (SEPTETS_ALONE, SEPTETS_A_PART)
    last = (len(octets) - (ends[-2] if len(ends) > 1 else 0)) // width
    return {
        "alphabet": "ucs2" if ucs2 else "gsm7",
        "units": len(octets) // width,
        "parts": len(ends),
        "left": (each if len(ends) > 1 else alone) - last if ends else 0,
        "forced_by": outside_gsm7(text)[:10] if ucs2 else [],
    }


def _sar(ref: int, total: int, no: int) -> tuple[tuple[int, bytes], ...]:
    return (
        (TAG_SAR_MSG_REF_NUM, ref.to_bytes(2)),
        (TAG_SAR_TOTAL_SEGMENTS, bytes((total,))),
        (TAG_SAR_SEGMENT_SEQNUM, bytes((no,))),
    )
