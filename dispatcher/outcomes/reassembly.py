"""Long messages from phones: parts kept on disk until all are there, in whatever order, then one text.

Touches: tables mo_parts and mo_due, by View and Changes. Rests on: SMPP_FACTS 12, PITFALLS L10 to L14, F15.

    mo_parts: source:8 set:8 part:1 -> msgpack {octets, udh, data_coding, esm_class, at_ms}; part 0 is the set's head:
              {from, to, total, first_ms, alphabet}
    mo_due:   first_ms:8 source:8 set:8 -> empty: sets in the order in which they end

A set's key has endpoint, sender, destination, reference, its width and total. What is not complete WAIT_MS after its
first part is given as it is, and so is the oldest set of a sender or of all when there are too many: nothing that was
answered is dropped. A part that is there already with other octets ends the old set and begins a new one.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from dispatcher.records.changes import Changes, View
from dispatcher.records.events import Delivered
from dispatcher.store.layout import U64
from dispatcher.store.values import pack, unpack
from dispatcher.text.decode import Concat, decode, read_udh, udh_elements, unpacked

TAG_SAR_MSG_REF_NUM, TAG_SAR_TOTAL_SEGMENTS, TAG_SAR_SEGMENT_SEQNUM = 0x020C, 0x020E, 0x020F
SAR_WIDTH = 0  # in place of the bits of a UDH's reference
WAIT_MS = 300_000
SETS_A_SOURCE = 16
SETS_MAX = 20_000
PARTS_MAX = 200_000  # waiting in all: some 60 MB
PART_OCTETS_MAX = 254  # more is no part of anything, whatever it says
_SET = 16
_DUE = struct.Struct(">Q16s")


@dataclass(frozen=True, slots=True)
class Whole:
    """A long message, or what there is of it."""

    source: str
    destination: str
    alphabet: str  # what data_coding 0 means at its endpoint
    first_ms: int
    total: int
    parts: dict[int, dict[str, Any]]  # as stored, by number, ascending

    @property
    def missing(self) -> list[int]:
        return [part for part in range(1, self.total + 1) if part not in self.parts]

    @property
    def octets(self) -> bytes:
        return b"".join(part["octets"] for part in self.parts.values())

    @property
    def text(self) -> str | None:
        """Octets first, then characters: some phones cut a pair in two. None when a part is no text."""
        parts = list(self.parts.values())
        runs: list[tuple[tuple[int, bytes], bytes]] = []
        for part in parts:
            how = (part["data_coding"], _shifts(part["udh"]))
            octets = unpacked(part["data_coding"], part["octets"], len(part["udh"]), self.alphabet)
            if runs and runs[-1][0] == how:
                runs[-1] = how, runs[-1][1] + octets
            else:
                runs.append((how, octets))
        alphabet = "gsm" if self.alphabet == "gsm_packed" else self.alphabet
        texts = [decode(data_coding, udh + octets, bool(udh), alphabet) for (data_coding, udh), octets in runs]
        return None if None in texts else "".join(text for text in texts if text)


def place_of(message: Delivered) -> Concat | None:
    """Where a message says that it stands in a long one: by its UDH, else by SAR parameters; None when it is alone."""
    if len(message.octets) > PART_OCTETS_MAX:
        return None
    place = read_udh(message.octets)[0] if message.udhi else None
    if place is None:
        tlvs = [
            message.tlvs.get(tag, b"") for tag in (TAG_SAR_MSG_REF_NUM, TAG_SAR_TOTAL_SEGMENTS, TAG_SAR_SEGMENT_SEQNUM)
        ]
        reference, total, part = (int.from_bytes(tlv) for tlv in tlvs)
        if all(tlvs) and 0 < part <= total <= 255:
            place = Concat(reference & 0xFFFF, SAR_WIDTH, total, part)
    return place if place is not None and place.total > 1 else None


def add(
    view: View, changes: Changes, message: Delivered, place: Concat, endpoint: int, alphabet: str, now_ms: int
) -> list[Whole]:
    """Keep a part; returns what it makes whole, and what had to be ended before its time."""
    source = hashlib.sha256(repr((endpoint, message.source_addr)).encode()).digest()[:8]
    said = (message.destination_addr, place.reference, place.width, place.total)
    key = source + hashlib.sha256(repr(said).encode()).digest()[:8]
    header = read_udh(message.octets)[1] if message.udhi else 0
    mine = {
        "octets": bytes(message.octets[header:]), "udh": bytes(message.octets[:header]),
        "data_coding": message.data_coding, "esm_class": message.esm_class, "at_ms": now_ms,
    }  # fmt: skip
    ended: list[Whole] = []
    known = _load(view, key)
    if known is not None and place.part in known.parts:
        if _same(known.parts[place.part], mine):
            return []
        ended.append(_end(changes, key, known))
        known = None
    if known is None:
        ended += _make_room(view, changes, source, {key} if ended else set())
        known = Whole(message.source_addr, message.destination_addr, alphabet, now_ms, place.total, {})
        head = {
            "from": known.source,
            "to": known.destination,
            "total": known.total,
            "first_ms": now_ms,
            "alphabet": alphabet,
        }
        changes.put("mo_parts", key + b"\0", pack(head))
        changes.put("mo_due", _DUE.pack(now_ms, key), b"\0")
    changes.put("mo_parts", key + bytes((place.part,)), pack(mine))
    parts = dict(sorted({**known.parts, place.part: mine}.items()))
    known = replace(known, parts=parts)
    return [*ended, _end(changes, key, known)] if not known.missing else ended


def overdue(view: View, changes: Changes, now_ms: int) -> Whole | None:
    """The oldest set, if it has waited long enough; it is ended."""
    for due, _ in view.range("mo_due"):
        first_ms, key = _DUE.unpack(due)
        if first_ms > now_ms - WAIT_MS:
            return None
        known = _load(view, key)
        if known is None:  # a row that stands alone
            changes.delete("mo_due", due)
            continue
        return _end(changes, key, known)
    return None


def _load(view: View, key: bytes) -> Whole | None:
    head, parts = None, {}
    for name, octets in view.range("mo_parts", key):
        if name[_SET] == 0:
            head = unpack(octets)
        else:
            parts[name[_SET]] = unpack(octets)
    if head is None:
        return None
    return Whole(head["from"], head["to"], head["alphabet"], head["first_ms"], head["total"], parts)


def _end(changes: Changes, key: bytes, whole: Whole) -> Whole:
    for part in (0, *whole.parts):
        changes.delete("mo_parts", key + bytes((part,)))
    changes.delete("mo_due", _DUE.pack(whole.first_ms, key))
    return whole


def _make_room(view: View, changes: Changes, source: bytes, ended: set[bytes]) -> Iterator[Whole]:
    """End the oldest sets while there are too many, of this sender or in all."""
    mine = sorted(
        (unpack(head)["first_ms"], key[:_SET])
        for key, head in view.range("mo_parts", source)
        if key[_SET] == 0 and key[:_SET] not in ended
    )
    over = [key for _, key in mine[: max(0, len(mine) - SETS_A_SOURCE + 1)]]
    if view.count("mo_due") >= SETS_MAX or view.count("mo_parts") >= PARTS_MAX:
        over += [due[U64.size :] for due, _ in _first(view, 2) if due[U64.size :] not in ended]
    for key in dict.fromkeys(over):
        known = _load(view, key)
        if known is not None:
            yield _end(changes, key, known)


def _first(view: View, most: int) -> Iterator[tuple[bytes, bytes]]:
    for row, _ in zip(view.range("mo_due"), range(most), strict=False):
        yield row


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("octets", "udh", "data_coding"))


def _shifts(udh: bytes) -> bytes:
    """The header without what tells its place: national tables, which decide what the octets mean."""
    elements = b"".join(
        bytes((element, len(data))) + data for element, data in udh_elements(udh)[0] if element in (0x24, 0x25)
    )
    return bytes((len(elements),)) + elements if elements else b""
