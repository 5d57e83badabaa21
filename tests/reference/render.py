"""What campaigns/_render means, in plain Python: one recipient at a time, from the same buffers."""

import datetime
import struct
from collections.abc import Iterator

from dispatcher.campaigns.template import Coupon, Reference, Template
from dispatcher.records.batch import Row
from dispatcher.records.states import Decision, Purpose
from dispatcher.store.blocks import ColumnKind
from dispatcher.store.columns import BlockView
from dispatcher.store.layout import FIELD_FLAGS, FIELD_MSISDN
from dispatcher.text.coding import Coding
from dispatcher.text.transliterate import ends_in_address, transliterate
from tests.reference import coupons
from tests.reference.coding import Said, alike_value, cleaned, made, say, split, text_hash

OPTOUT = {Purpose.MARKETING: 2, Purpose.CARE: 3, Purpose.SERVICE: 4}
FORMATS = {ColumnKind.U8: "<B", ColumnKind.U16: "<H", ColumnKind.I32: "<i", ColumnKind.I64: "<q", ColumnKind.U64: "<Q"}


def number(block: BlockView, field: int, kind: ColumnKind, slot: int) -> int | None:
    form = struct.Struct(FORMATS[kind])
    value = form.unpack_from(block.array(field), slot * form.size)[0]
    unknown = {ColumnKind.I32: -(2**31), ColumnKind.I64: -(2**63)}.get(kind, 0)
    return None if value == unknown else value


def value_of(block: BlockView, ref: Reference, slot: int) -> str | None:
    field = ref.field
    if field.column == ColumnKind.TEXT:
        starts, ends, heap = block.text(field.number)
        begin, end = (struct.unpack_from("<I", offsets, 4 * slot)[0] for offsets in (starts, ends))
        try:
            text = bytes(heap[begin:end]).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return None
        return cleaned(text)[: ref.max_characters or None] if text else None
    value = number(block, field.number, field.column, slot)
    if value is None:
        return None
    if field.kind == "dict":
        return field.values[value - 1][: ref.max_characters or None] if value <= len(field.values) else None
    if field.kind == "bool":
        return {1: "no", 2: "yes"}.get(value)
    if field.kind == "date":
        try:
            return str(datetime.date(1970, 1, 1) + datetime.timedelta(days=value))
        except OverflowError:
            return None
    if field.kind == "month_day":
        return f"{value // 32:02d}-{value % 32:02d}" if 1 <= value // 32 <= 12 and value % 32 else None
    if field.kind == "money":
        cents = (abs(value) + 5_000) // 10_000
        return f"{'-' if value < 0 and cents else ''}{cents // 100}.{cents % 100:02d}"
    return str(value)


def message(
    block: BlockView,
    template: Template,
    purpose: Purpose,
    max_parts: int,
    slot: int,
    coding: Coding = Coding(),
    message_class: int | None = None,
    transliterated: bool = False,
    coupon_key: bytes | None = None,
    first_member_no: int = 0,
) -> tuple[Decision, str, Said | None]:
    """The decision on one slot, its text, and its octets."""

    def plane(no: int) -> int:
        return block.array(FIELD_FLAGS)[no * block.slots // 8 + slot // 8] >> slot % 8 & 1

    if slot >= block.slots or not plane(0):
        return Decision.ERASED, "", None
    if number(block, FIELD_MSISDN, ColumnKind.U64, slot) is None:
        return Decision.NO_VALID_NUMBER, "", None
    if plane(1):
        return Decision.SUPPRESSED, "", None
    if purpose in OPTOUT and plane(OPTOUT[purpose]):
        return Decision.OPTED_OUT, "", None
    text = alikes = ""
    in_address = False
    for piece in template.pieces:
        found = piece if isinstance(piece, str) else value_of(block, piece, slot)
        if found is None and isinstance(piece, Reference):
            found = piece.fallback
        if found is None:
            return Decision.NO_VALUE, "", None
        if isinstance(piece, Coupon) and coupon_key is not None:
            found = coupons.code_of(coupon_key, first_member_no + slot)
            alikes += found
        elif isinstance(piece, str):
            alikes += transliterate(piece, in_address)
            in_address = ends_in_address(piece, in_address)
        else:
            alikes += found if in_address or holds_address(block, piece, slot) else alike_value(found)
        text += found
    said = say(text, coding, message_class, alikes if transliterated or coding.transliterate else None)
    if said is None:
        return Decision.NO_ALPHABET, text, None
    return (Decision.SENT if len(split(said, coding)) <= max_parts else Decision.TEXT_GREW), text, said


def holds_address(block: BlockView, ref: Reference, slot: int) -> bool:
    """Of a value before it is cut to its greatest length."""
    whole = value_of(block, Reference(ref.field), slot)
    whole = ref.fallback or "" if whole is None else whole
    return "://" in whole or "www." in whole.lower()


def render(
    block: BlockView,
    template: Template,
    purpose: Purpose,
    max_parts: int,
    first_member_no: int,
    todo: set[int],
    audience: set[int],
    rank_base: int,
    ref_seed: int,
    coding: Coding = Coding(),
    message_class: int | None = None,
    transliterated: bool = False,
    coupon_key: bytes | None = None,
) -> Iterator[list[tuple[Row, bytes]]]:
    """Each recipient's rows with their octets, the lowest slot first. octets_at is 0 here."""
    ranks = {slot: rank_base + at for at, slot in enumerate(sorted(audience))}
    how = (coding, message_class, transliterated, coupon_key, first_member_no)
    for slot in sorted(todo & audience):
        decision, _, said = message(block, template, purpose, max_parts, slot, *how)
        rank, member_no = ranks[slot], first_member_no + slot
        if decision != Decision.SENT or said is None:
            yield [(Row(0, rank, 0, 0, 0, 0, 0, 0, 0, decision, 0, member_no, 0), b"")]
            continue
        parts = made(said, coding, rank + ref_seed * 0x101)
        rows = []
        for no, (esm_class, data_coding, body, told, ref) in enumerate(parts):
            row = Row(
                destination=number(block, FIELD_MSISDN, ColumnKind.U64, slot) or 0,
                rank=rank,
                octets_at=0,
                text_hash=text_hash(said, parts),
                octets=len(body),
                part=no,
                parts=len(parts),
                esm_class=esm_class,
                data_coding=data_coding,
                decision=Decision.SENT,
                tries=0,
                slot=member_no,
                skip=0,
                told=told,
                ref=ref,
            )
            rows.append((row, body))
        yield rows
