"""data_coding and octets to text, and the user data header before it; what cannot be read stays octets.

Touches: nothing.
Rests on: SMPP 3.4 5.2.19 and TS 23.038 4 (data_coding), TS 23.040 9.2.3.24 (UDH), SMPP_FACTS 5 and 12.
Weak spot: octets above 0x7F under data_coding 0 mean that the SMSC's default is not GSM, whatever the settings say;
they are taken for Latin-1, the usual other one.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from dispatcher.text.alphabet import BASIC, ESC
from dispatcher.text.national import IE_LOCKING_SHIFT, IE_SINGLE_SHIFT, LOCKING, SINGLE

IE_CONCAT_8, IE_CONCAT_16 = 0x00, 0x08
_GSM7, _UCS2, _BINARY = "gsm7", "ucs2", ""
# SMPP's own values; the others follow TS 23.038
_CODINGS = {
    0: _GSM7, 1: "ascii", 2: _BINARY, 3: "latin-1", 4: _BINARY, 5: "shift_jis", 6: "iso8859_5", 7: "iso8859_8",
    8: _UCS2, 9: _BINARY, 10: "iso2022_jp", 13: "iso2022_jp_1", 14: "euc_kr",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Concat:
    """One part's place in a long message. `width` is of the reference, 8 or 16 bits: part of the set's key."""

    reference: int
    width: int
    total: int
    part: int  # from 1


def decode(data_coding: int, octets: bytes, udhi: bool = False, default_alphabet: str = "gsm") -> str | None:
    """The text of a short_message, without its UDH; None when it is no text or cannot be read. Never raises.

    `default_alphabet`: what data_coding 0 means at this endpoint, as coding.Coding has it.
    """
    elements, length = udh_elements(octets) if udhi else ([], 0)
    body = unpacked(data_coding, octets[length:], length, default_alphabet)
    coding = coding_of(data_coding)
    if data_coding == 0 and not default_alphabet.startswith("gsm"):
        coding = "latin-1"
    if coding == _GSM7:
        shifts = {element: data[0] for element, data in elements if len(data) == 1}
        return _gsm7(body, shifts.get(IE_SINGLE_SHIFT, 0), shifts.get(IE_LOCKING_SHIFT, 0))
    if coding == _UCS2:
        return _decoded(body, "utf-16-be")
    return _decoded(body, coding) if coding else None


def unpacked(data_coding: int, body: bytes, udh_octets: int, default_alphabet: str) -> bytes:
    """One septet an octet, where the endpoint packs those of GSM 7-bit; else `body`. Bits between the header and the
    first septet fill up to a multiple of seven (TS 23.040 9.2.3.24); a CR in the last seven bits is none (TS 23.038
    6.1.2.3.1)."""
    if default_alphabet != "gsm_packed" or coding_of(data_coding) != _GSM7:
        return body
    fill = -8 * udh_octets % 7
    count, spare = divmod(max(0, 8 * len(body) - fill), 7)
    bits = int.from_bytes(body, "little") >> fill
    septets = bytes(bits >> 7 * no & 0x7F for no in range(count))
    return septets.removesuffix(b"\r") if not spare else septets


def coding_of(data_coding: int) -> str:
    """ "gsm7", "ucs2", a codec of Python, or "" for octets that are no text."""
    if data_coding < 0x10:
        return _CODINGS.get(data_coding, _BINARY)
    group = data_coding >> 4
    if group < 0x8:  # general data coding, with class; 0x20 set: compressed, which nobody sends
        if data_coding & 0x20:
            return _BINARY
        return (_GSM7, _BINARY, _UCS2, _BINARY)[data_coding >> 2 & 3]
    if group in (0xC, 0xD):
        return _GSM7
    if group == 0xE:
        return _UCS2
    return _GSM7 if group == 0xF and not data_coding & 4 else _BINARY


def read_udh(octets: bytes) -> tuple[Concat | None, int]:
    """(this part's place, octets of the header). A header that runs past the end is text: (None, 0).

    Elements in any order, the last concatenation counts; one with total 0, part 0 or part > total is ignored.
    """
    elements, length = udh_elements(octets)
    found: Concat | None = None
    for element, data in elements:
        if (element, len(data)) in ((IE_CONCAT_8, 3), (IE_CONCAT_16, 4)):
            total, part = data[-2], data[-1]
            if 0 < part <= total:
                found = Concat(int.from_bytes(data[:-2]), 8 * (len(data) - 2), total, part)
    return found, length


def udh_elements(octets: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """The (identifier, data) of each element, and the header's octets; ([], 0) when it runs past the end."""
    length = octets[0] + 1 if octets else 0
    if not octets or length > len(octets):
        return [], 0
    found: list[tuple[int, bytes]] = []
    at = 1
    while at < length:
        if at + 2 > length or at + 2 + octets[at + 1] > length:
            return [], 0
        data = octets[at + 2 : at + 2 + octets[at + 1]]
        found.append((octets[at], data))
        at += 2 + len(data)
    return found, length


def _gsm7(octets: bytes, single: int = 0, locking: int = 0) -> str | None:
    """`single`, `locking`: national tables; one that nobody has is the default's (TS 23.038 6.2.1.2.2)."""
    if any(octet > 0x7F for octet in octets):
        return None if any(0x80 <= octet < 0xA0 for octet in octets) else octets.decode("latin-1")
    alone, pairs = LOCKING.get(locking, BASIC), SINGLE.get(single, SINGLE[0])
    text: list[str] = []
    following = iter(octets)
    for octet in following:
        if octet != ESC:
            text.append(alone[octet])
            continue
        pair = next(following, ESC)  # an ESC at the end, or twice, shows as a space (TS 23.038 6.2.1.1)
        text.append(pairs.get(pair) or (" " if pair == ESC else alone[pair]))
    return "".join(text)


def _decoded(octets: bytes, coding: str) -> str | None:
    try:
        return codecs.decode(octets, coding)
    except (UnicodeDecodeError, LookupError):
        return None
