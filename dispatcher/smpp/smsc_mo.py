"""Texts from phones that the simulator makes up: so many a second, from so many numbers, long ones in parts.

Touches: octets and the `now` it is given. Rests on: 3GPP TS 23.040 9.2.3.24.1 and .8 (8 and 16 bit references).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from dispatcher.smpp.smsc_options import PartOctets, SmscOptions
from dispatcher.smpp.smsc_session import mo_pdus

BURST_S = 0.1  # what a late turn makes up for at most
_CONCATENATED = b"\5\0\3"


class MoSource:
    """What is due, and what it looks like. A part is counted over all texts."""

    def __init__(self) -> None:
        self._reference = 0
        self._parts = 0
        self._made = 0
        self._since_ns: int | None = None

    def due(self, options: SmscOptions, now_ns: int, room: int) -> tuple[int, int]:
        """How many texts are due at this time, and how many of them `room` leaves out."""
        if not options.mo_rate:
            self._since_ns = None
            return 0, 0
        if self._since_ns is None:
            self._since_ns = now_ns
        self._since_ns = max(self._since_ns, now_ns - int(BURST_S * 1e9))
        count = int((now_ns - self._since_ns) * options.mo_rate / 1e9)
        self._since_ns += int(count * 1e9 / options.mo_rate)
        return min(count, room), max(0, count - room)

    def next(self, options: SmscOptions) -> tuple[str, str]:
        """Source and text of the next one."""
        made, self._made = self._made, self._made + 1
        number = int(options.mo_from) + made % options.mo_sources
        return str(number).zfill(len(options.mo_from))[-20:], options.mo_texts[made % len(options.mo_texts)]

    def run(self, options: SmscOptions, most: int) -> tuple[bytes, int, int, int, int] | None:
        """As many texts as differ only in their source, as kernel.Smsc.flood takes them; None when these do not."""
        if len(options.mo_texts) > 1 or options.mo_part_lost_every or options.mo_part_twice_every:
            return None
        parts = options.mo_parts(options.mo_texts[0], 0)
        if len(parts) > 1:
            return None
        at = self._made % options.mo_sources
        count = min(most, options.mo_sources - at) if options.mo_sources > 1 else most
        digits = len(options.mo_from)
        (pdu,) = mo_pdus(options.mo_from, options.mo_to, parts)
        self._made += count
        if options.mo_sources == 1:
            return pdu, 0, 0, 0, count
        return pdu, 19, digits, int(options.mo_from) + at, count  # 16, service_type, ton, npi, then the source

    def pdus(self, options: SmscOptions, source: str, destination: str, text: str) -> list[bytes]:
        """deliver_sm of one text, in the order they are to arrive; ValueError when SMPP cannot carry it."""
        self._reference = self._reference + 1 & 0xFFFF
        parts = list(options.mo_parts(text, self._reference & 0xFF))
        if options.mo_reference_bits == 16:
            parts = [_wide(part, self._reference) for part in parts]
        if options.mo_order == "reverse":
            parts.reverse()
        elif options.mo_order == "shuffled":
            random.Random(self._reference).shuffle(parts)
        return mo_pdus(source, destination, self._lost_and_doubled(options, parts))

    def _lost_and_doubled(self, options: SmscOptions, parts: Sequence[PartOctets]) -> list[PartOctets]:
        kept: list[PartOctets] = []
        for part in parts:
            self._parts += 1
            if options.mo_part_lost_every and self._parts % options.mo_part_lost_every == 0:
                continue
            twice = options.mo_part_twice_every and self._parts % options.mo_part_twice_every == 0
            kept += [part, part] if twice else [part]
        return kept


def _wide(part: PartOctets, reference: int) -> PartOctets:
    """The same part under a reference of 16 bits; one octet longer, as the octets of a gateway may be."""
    esm_class, data_coding, octets = part
    if not octets.startswith(_CONCATENATED):
        return part
    return esm_class, data_coding, b"\6\x08\4" + reference.to_bytes(2, "big") + octets[4:]
