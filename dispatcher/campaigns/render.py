"""Recipients of a block to a Batch: the guards at claim, each one's text, its parts. The names others import.

Touches: the buffers of a BlockView while its snapshot lives; what it returns owns its memory.
Rests on: render.h for the kernel, records/batch.h for the rows, tests/reference/render.py for the meaning.

A Renderer is made for one template, purpose and limit and used for every block; threads may share it.
Make it anew when the tenant's fields change: a dictionary that grew has codes it does not know (no_value).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dispatcher.campaigns.template import BOOL_WORDS, Reference, Template
from dispatcher.records.batch import ROW, Batch, Row, octets_of, read_rows
from dispatcher.records.states import Decision, Purpose
from dispatcher.store.blocks import FLAGS, WIDTH, Column, ColumnKind
from dispatcher.store.columns import BlockView
from dispatcher.store.layout import FIELD_MSISDN, OPTOUT_GROUPS
from dispatcher.text.alphabet import DATA_CODING_GSM7, DATA_CODING_UCS2, clean
from dispatcher.text.decode import decode
from dispatcher.text.octets import MAX_PARTS, Octets, crc32, encode
from dispatcher.text.parts import ESM_CLASS_UDHI, TextTooLong, parts

try:
    from dispatcher.campaigns import _render as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel campaigns/_render is not built: run `make build`") from exc

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
_TRIES_AT, _SKIP_AT, _SINCE_AT = 27, 32, 36  # of a row, records/batch.h
_OP = struct.Struct("<6I")  # render.h: kind, column, piece, count, fallback, max
_PIECE = struct.Struct("<4I")  # render.h: gsm_at, gsm_octets, ucs_at, ucs_octets
_BY_KIND = {"date": "date", "month_day": "month_day", "money": "money"}
_BY_COLUMN = {
    ColumnKind.TEXT: "text",
    ColumnKind.U8: "dict8",
    ColumnKind.U16: "dict16",
    ColumnKind.I32: "i32",
    ColumnKind.I64: "i64",
    ColumnKind.U64: "u64",
}


@dataclass(frozen=True, slots=True)
class Longest:
    """One of the longest texts; octets as encoded, before the UDH."""

    member_no: int
    parts: int
    octets: int


@dataclass(slots=True)
class PartCounts:
    """What rendering would give, counted: by decision and, of those sent, by parts. Blocks add up with +=."""

    decisions: Counter[Decision] = field(default_factory=Counter)
    parts: Counter[int] = field(default_factory=Counter)
    ucs2: int = 0  # of those sent
    longest: list[Longest] = field(default_factory=list)  # at most five, the longest first

    @property
    def too_long(self) -> int:
        return self.decisions[Decision.TEXT_GREW]

    def __iadd__(self, other: PartCounts) -> PartCounts:
        self.decisions.update(other.decisions)
        self.parts.update(other.parts)
        self.ucs2 += other.ucs2
        both = sorted(self.longest + other.longest, key=lambda one: (-one.parts, -one.octets, one.member_no))
        self.longest = both[: kernel.LONGEST_KEPT]
        return self


@dataclass(frozen=True, slots=True)
class Sample:
    """What one member would get; text is None when the decision is not SENT."""

    decision: Decision
    text: str | None
    parts: int
    data_coding: int


class Renderer:
    """`columns` is what open_block must be asked for: the template's fields, the planes of FLAGS, MSISDN."""

    def __init__(self, template: Template, purpose: Purpose, max_parts: int) -> None:
        if not 1 <= max_parts <= MAX_PARTS:
            raise ValueError(f"max_parts is 1 to {MAX_PARTS}, not {max_parts}")
        self.template = template
        self.purpose = purpose
        self.max_parts = max_parts
        self.columns: list[Column] = list(dict.fromkeys([FLAGS, MSISDN, *template.columns]))
        self._program = _compile(template)
        self._read = template.columns
        self._widths = bytes(WIDTH.get(kind, 0) for _, _, kind in self._read)
        self._optout_plane = OPTOUT_GROUPS.get(purpose.value, kernel.NO_PIECE)

    def __repr__(self) -> str:
        return f"<Renderer {self.template.text[:40]!r} {self.purpose} max_parts={self.max_parts}>"

    def render(
        self,
        block: BlockView,
        first_member_no: int,
        todo: Octets,
        audience: Octets,
        rank_base: int,
        max_rows: int,
        ref_seed: int = 0,
    ) -> Batch:
        """Rows of the slots in `todo`, the lowest first, until `max_rows`; never a part of a message.

        todo, audience: bitmaps of equal length (u64 words, little-endian); what is not in audience is not taken.
        A slot's rank is rank_base + the audience's slots below it; slot in a row is first_member_no + slot.
        At least one member is taken, so a single message may pass max_rows. The UDH's reference is
        (rank + ref_seed) modulo 256. Call again with the bits up to last_slot cleared; count 0 is the end.
        """
        return Batch(
            *kernel.render(self._hold(block), todo, audience, rank_base, first_member_no, ref_seed & 0xFF, max_rows)
        )

    def count_parts(self, block: BlockView, first_member_no: int, todo: Octets) -> PartCounts:
        """Decisions and parts of every slot in `todo`, as render would give them, without octets."""
        decisions, of_parts, ucs2, longest = kernel.count(self._hold(block), todo)
        return PartCounts(
            Counter({Decision(number): count for number, count in decisions.items()}),
            Counter(of_parts),
            ucs2,
            [Longest(first_member_no + slot, count, octets) for slot, count, octets in longest],
        )

    def sample(self, block: BlockView, slot: int) -> Sample:
        """What the member of one slot would get now: rendered by the kernel and read back."""
        only = bytearray(8 * (slot // 64 + 1))
        only[slot // 8] = 1 << slot % 8
        batch = self.render(block, 0, only, only, 0, 1)
        rows = read_rows(batch)
        return Sample(Decision(rows[0].decision), _text_of(batch, rows), rows[0].parts, rows[0].data_coding)

    def _hold(self, block: BlockView) -> kernel.Held:
        buffers: list[Octets] = [block.array(*FLAGS[:2]), block.array(*MSISDN[:2])]
        for number, part, kind in self._read:
            if kind == ColumnKind.TEXT:
                buffers.extend(block.text(number))
            else:
                buffers.extend((block.array(number, part), b"", b""))
        return kernel.Held(self._program, buffers, self._widths, block.slots, self.max_parts, self._optout_plane)


def clear_through(todo: bytearray, slot: int) -> None:
    """Take the slots up to and with `slot` out of a bitmap: what a batch has taken."""
    whole = (slot + 1) // 8
    todo[:whole] = bytes(whole)
    if (slot + 1) % 8:
        todo[whole] &= 0xFF << (slot + 1) % 8 & 0xFF


def mark_again(batch: Batch, of_rank: Mapping[int, tuple[int, int, int]]) -> None:
    """Of messages claimed before, only some parts: (bit a part, tries so far, refused since) by rank. The others are
    marked skip."""
    for at in range(0, batch.count * ROW.size, ROW.size):
        row = ROW.unpack_from(batch.rows, at)
        wanted, tries, since_s = of_rank[row[1]]
        batch.rows[at + _TRIES_AT] = min(tries, 255)
        batch.rows[at + _SINCE_AT : at + _SINCE_AT + 4] = since_s.to_bytes(4, "little")
        if not wanted >> row[5] & 1:
            batch.rows[at + _SKIP_AT] = 1


def render_single(text: str, destination: int, rank: int, ref_seed: int = 0, slot: int = 0) -> Batch:
    """One text to one number, no guards: see render_singles."""
    return render_singles([(text, destination, rank, slot)], ref_seed)


def render_singles(messages: Iterable[tuple[str, int, int, int]], ref_seed: int = 0) -> Batch:
    """Texts born alone, as (text, destination, rank, slot), in one Batch. Over 255 parts: a row text_grew.

    last_slot is the greatest slot. About 3 us a message: for replies, not for broadcasts.
    """
    rows, octets, count, members, last_slot = bytearray(), bytearray(), 0, 0, -1
    for text, destination, rank, slot in messages:
        members += 1
        last_slot = max(last_slot, slot)
        try:
            of_text = parts(text, rank + ref_seed)
        except TextTooLong:
            rows += ROW.pack(0, rank, 0, 0, 0, 0, 0, 0, 0, Decision.TEXT_GREW, 0, slot, 0)
            count += 1
            continue
        text_hash = crc32(b"".join(part.octets[6 if part.esm_class else 0 :] for part in of_text))
        for no, part in enumerate(of_text):
            rows += ROW.pack(
                destination, rank, len(octets), text_hash, len(part.octets), no, len(of_text),
                part.esm_class, part.data_coding, Decision.SENT, 0, slot, 0,
            )  # fmt: skip
            octets += part.octets
        count += len(of_text)
    return Batch(rows, octets, count, last_slot, members)


def _text_of(batch: Batch, rows: Sequence[Row]) -> str | None:
    if not rows[0].parts:
        return None
    return "".join(
        decode(row.data_coding, octets_of(batch, row), bool(row.esm_class & ESM_CLASS_UDHI)) or "" for row in rows
    )


def _compile(template: Template) -> tuple[bytes, bytes, bytes, bytes, bool]:
    """The kernel's program: ops, pieces, heap, leaps, and whether a literal rules GSM 7-bit out."""
    ops, heap, known = bytearray(), bytearray(), dict[str, tuple[int, int, int, int]]()
    pieces: list[tuple[int, int, int, int]] = []
    literals: list[bytes] = []
    columns = {column: no for no, column in enumerate(template.columns)}

    def lay(texts: Iterable[str]) -> int:
        first = len(pieces)
        for text in texts:
            if text not in known:
                data_coding, gsm = encode(text)
                ucs = clean(text).encode("utf-16-be")
                fits = data_coding == DATA_CODING_GSM7
                at = len(heap)
                heap.extend(gsm + ucs if fits else ucs)
                known[text] = (at, len(gsm), at + len(gsm), len(ucs)) if fits else (0, kernel.NO_PIECE, at, len(ucs))
            pieces.append(known[text])
        return first

    only_ucs2 = False
    for piece in template.pieces:
        if isinstance(piece, str):
            data_coding, octets = encode(piece)
            only_ucs2 |= data_coding == DATA_CODING_UCS2
            ops += _OP.pack(kernel.OPS["literal"], 0, lay([piece]), len(literals), kernel.NO_PIECE, 0)
            literals += [octets, clean(piece).encode("utf-16-be")]
            continue
        values = [value[: piece.max_characters or None] for value in _words(piece)]
        fallback = kernel.NO_PIECE if piece.fallback is None else lay([piece.fallback])
        asked = piece.field
        kind = kernel.OPS[_BY_KIND.get(asked.kind) or _BY_COLUMN[asked.column]]
        column = columns[asked.number, 0, asked.column]
        ops += _OP.pack(kind, column, lay(values), len(values), fallback, piece.max_characters)
    return (
        bytes(ops),
        b"".join(_PIECE.pack(*piece) for piece in pieces),
        bytes(heap),
        kernel.leaps_of(literals),
        only_ucs2,
    )


def _words(ref: Reference) -> Sequence[str]:
    if ref.field.kind == "bool":
        return BOOL_WORDS
    return ref.field.values if ref.field.kind == "dict" else ()
