"""Recipients of a block to a Batch: the guards at claim, each one's text, its parts. The names others import.

Touches: the buffers of a BlockView while its snapshot lives; what it returns owns its memory.
Rests on: render.h for the kernel, records/batch.h for the rows, tests/reference/render.py for the meaning.

A Renderer is made for one template, purpose, limit and way of an endpoint to take texts, and used for every block;
threads may share it. Make it anew when the tenant's fields change: a dictionary that grew has codes it does not know
(no_value).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatcher.campaigns.template import BOOL_WORDS, Coupon, Reference, Template
from dispatcher.coupons.code import KEY_OCTETS
from dispatcher.records.batch import PAYLOAD, ROW, SAR, SHORT, TOLD_ROW, Batch, Row, octets_of, read_rows
from dispatcher.records.states import Decision, Purpose
from dispatcher.store.blocks import FLAGS, WIDTH, Column, ColumnKind
from dispatcher.store.columns import BlockView
from dispatcher.store.layout import FIELD_MSISDN, OPTOUT_GROUPS
from dispatcher.text.coding import Alphabet, Coding, Encoder, NotSayable, encoder, usual
from dispatcher.text.decode import decode
from dispatcher.text.octets import MAX_PARTS, Octets, crc32
from dispatcher.text.parts import (
    ESM_CLASS_UDHI,
    TAG_MESSAGE_PAYLOAD,
    TAG_SAR_MSG_REF_NUM,
    Billing,
    Part,
    TextTooLong,
    parts_by,
)  # fmt: skip
from dispatcher.text.transliterate import ends_in_address, has_address, look_alikes, transliterate

try:
    from dispatcher.campaigns import _render as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel campaigns/_render is not built: run `make build`") from exc

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
_TRIES_AT, _SKIP_AT, _SINCE_AT = 27, 32, 36  # of a row, records/batch.h
_OP = struct.Struct("<7I")  # render.h: kind, column, piece, count, fallback, max, verbatim
_PIECE = struct.Struct("<2I")  # render.h: at, octets
_REF_STEP = 0x101  # campaigns begin as far apart in 16 bits of reference as in 8
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
    parts: Counter[int] = field(default_factory=Counter)  # as they leave: submit_sm
    billed: Counter[int] = field(default_factory=Counter)  # as the market bills them, else as phones get them
    ucs2: int = 0  # of those sent
    longest: list[Longest] = field(default_factory=list)  # at most five, the longest first
    changed: dict[str, str] = field(default_factory=dict)  # characters that a look-alike stands for

    @property
    def too_long(self) -> int:
        return self.decisions[Decision.TEXT_GREW]

    def __iadd__(self, other: PartCounts) -> PartCounts:
        self.decisions.update(other.decisions)
        self.parts.update(other.parts)
        self.billed.update(other.billed)
        self.ucs2 += other.ucs2
        self.changed |= other.changed
        both = sorted(self.longest + other.longest, key=lambda one: (-one.parts, -one.octets, one.member_no))
        self.longest = both[: kernel.LONGEST_KEPT]
        return self


def spared(before: PartCounts, after: PartCounts) -> dict[str, Any]:
    """What look-alikes change and save, for a preview: `after` is counted by a Renderer that makes them."""
    parts_before, parts_after = (sum(n * count for n, count in of.billed.items()) for of in (before, after))
    costly = [of.ucs2 + of.decisions[Decision.NO_ALPHABET] for of in (before, after)]  # or not to be said at all
    return {
        "changed": dict(sorted(after.changed.items())),
        "recipients": costly[0] - costly[1],
        "parts_before": parts_before,
        "parts_after": parts_after,
    }


@dataclass(frozen=True, slots=True)
class Sample:
    """What one member would get; text is None when the decision is not SENT."""

    decision: Decision
    text: str | None
    parts: int
    data_coding: int
    encoding: str = ""  # GSM7, LATIN1, ASCII or UCS2


class Renderer:
    """`columns` is what open_block must be asked for: the template's fields, the planes of FLAGS, MSISDN.

    `coding`: how the endpoint takes texts. `message_class` 0 is flash. `transliterate`: look-alikes of GSM 7-bit where
    they spare UCS-2. `billing`: what count_parts calls billed. `coupon_key`: the pool's, for who renders what leaves;
    without it `{coupon}` is twelve X, as many octets in every alphabet.
    """

    def __init__(
        self,
        template: Template,
        purpose: Purpose,
        max_parts: int,
        coding: Coding = Coding(),
        *,
        message_class: int | None = None,
        transliterate: bool = False,
        billing: Billing | None = None,
        coupon_key: bytes | None = None,
    ) -> None:
        if not 1 <= max_parts <= MAX_PARTS:
            raise ValueError(f"max_parts is 1 to {MAX_PARTS}, not {max_parts}")
        if coupon_key is not None and len(coupon_key) != KEY_OCTETS:
            raise ValueError(f"a pool's key has {KEY_OCTETS} octets, not {len(coupon_key)}")
        self.template = template
        self.encoder = encoder(coding, message_class, transliterate)
        self.billing = billing
        self.purpose = purpose
        self.max_parts = max_parts
        self.columns: list[Column] = list(dict.fromkeys([FLAGS, MSISDN, *template.columns]))
        program = _Program(template, self.encoder.alphabets, coupon_key)
        self._program, self._changed = program.octets, program.changed
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
        At least one member is taken, so a single message may pass max_rows. The reference of parts is
        (rank + ref_seed) modulo 256. Call again with the bits up to last_slot cleared; count 0 is the end.
        """
        seed = ref_seed * _REF_STEP & 0xFFFF
        return Batch(*kernel.render(self._hold(block), todo, audience, rank_base, first_member_no, seed, max_rows))

    def count_parts(self, block: BlockView, first_member_no: int, todo: Octets) -> PartCounts:
        """Decisions and parts of every slot in `todo`, as render would give them, without octets."""
        decisions, of_parts, billed, ucs2, longest, met = kernel.count(self._hold(block), todo)
        return PartCounts(
            Counter({Decision(number): count for number, count in decisions.items()}),
            Counter(of_parts),
            Counter(billed),
            ucs2,
            [Longest(first_member_no + slot, count, octets) for slot, count, octets in longest],
            self._changed | {character: look_alikes()[character] for character in met},
        )

    def sample(self, block: BlockView, slot: int) -> Sample:
        """What the member of one slot would get now: rendered by the kernel and read back. Never with a pool's key."""
        assert self._program[-1] is None
        only = bytearray(8 * (slot // 64 + 1))
        only[slot // 8] = 1 << slot % 8
        batch = self.render(block, 0, only, only, 0, 1)
        rows = read_rows(batch)
        first, default = rows[0], self.encoder.coding.default_alphabet
        encoding = next((a.encoding for a in self.encoder.alphabets if a.data_coding == first.data_coding), "")
        text = _text_of(batch, rows, default)
        return Sample(Decision(first.decision), text, first.parts, first.data_coding, encoding if first.parts else "")

    def _hold(self, block: BlockView) -> kernel.Held:
        buffers: list[Octets] = [block.array(*FLAGS[:2]), block.array(*MSISDN[:2])]
        for number, part, kind in self._read:
            if kind == ColumnKind.TEXT:
                buffers.extend(block.text(number))
            else:
                buffers.extend((block.array(number, part), b"", b""))
        how = (self._widths, block.slots, self.max_parts, self._optout_plane)
        billing = (self.billing.first, self.billing.more) if self.billing else ()
        return kernel.Held(self._program, self.encoder.kernel, buffers, *how, *billing)


def skip_rows(
    bitmap: Octets, audience: Octets, base_rank: int, first_member_no: int, decision: Decision, max_rows: int
) -> Batch:
    """Rows for the slots of `bitmap`, none of whom is sent to: the lowest first, at most `max_rows`, as render's."""
    assert decision >= Decision.NO_VALID_NUMBER, decision
    rows, count, last_slot = kernel.skip(bitmap, audience, base_rank, first_member_no, decision, max_rows)
    return Batch(rows, bytearray(), count, last_slot, count)


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


def render_singles(
    messages: Iterable[tuple[str, int, int, int]], ref_seed: int = 0, by: Encoder | None = None
) -> Batch:
    """Texts born alone, as (text, destination, rank, slot), in one Batch. Over 255 parts: a row text_grew;
    what the endpoint has no alphabet for: no_alphabet.

    last_slot is the greatest slot. `by`: how the endpoint takes texts. About 4 us a message: for replies, not for
    broadcasts.
    """
    by = by or usual()
    rows, octets, count, members, last_slot = bytearray(), bytearray(), 0, 0, -1
    for text, destination, rank, slot in messages:
        members += 1
        last_slot = max(last_slot, slot)
        try:
            of_text = parts_by(by, text, rank + ref_seed * _REF_STEP)
        except (TextTooLong, NotSayable) as exc:
            why = Decision.NO_ALPHABET if isinstance(exc, NotSayable) else Decision.TEXT_GREW
            rows += ROW.pack(0, rank, 0, 0, 0, 0, 0, 0, 0, why, 0, slot, 0)
            count += 1
            continue
        bodies = [_told(part) for part in of_text]
        text_hash = crc32(b"".join(body[part.udh_octets :] for part, (_, _, body) in zip(of_text, bodies, strict=True)))
        for no, (part, (told, ref, body)) in enumerate(zip(of_text, bodies, strict=True)):
            rows += TOLD_ROW.pack(
                destination, rank, len(octets), text_hash, len(body), no, len(of_text),
                part.esm_class, part.data_coding, Decision.SENT, 0, slot, 0, told, ref,
            )  # fmt: skip
            octets += body
        count += len(of_text)
    return Batch(rows, octets, count, last_slot, members)


def _told(part: Part) -> tuple[int, int, bytes]:
    """(told, ref, octets) of a row, records/batch.h."""
    for tag, value in part.tlvs:
        if tag == TAG_MESSAGE_PAYLOAD:
            return PAYLOAD, 0, value
        if tag == TAG_SAR_MSG_REF_NUM:
            return SAR, int.from_bytes(value), part.octets
    return SHORT, 0, part.octets


def _text_of(batch: Batch, rows: Sequence[Row], default_alphabet: str) -> str | None:
    if not rows[0].parts:
        return None
    return "".join(
        decode(row.data_coding, octets_of(batch, row), bool(row.esm_class & ESM_CLASS_UDHI), default_alphabet) or ""
        for row in rows
    )


class _Program:
    """A template for the kernel: ops, pieces, heap, leaps, and a bit for each alphabet that has every literal.

    `changed`: what look-alikes stand for in its literals, fallbacks and dictionary values.
    """

    def __init__(self, template: Template, alphabets: Sequence[Alphabet], coupon_key: bytes | None) -> None:
        self._alphabets, self._coupon_key = alphabets, coupon_key
        self._ops, self._heap = bytearray(), bytearray()
        self._pieces: list[tuple[int, int]] = []
        self._laid: dict[bytes, int] = {}
        self._literals: list[bytes] = []
        self.possible = (1 << len(alphabets)) - 1
        self.changed: dict[str, str] = {}
        columns = {column: no for no, column in enumerate(template.columns)}
        in_address = False
        for piece in template.pieces:
            if isinstance(piece, str):
                self._literal(piece, in_address)
                if isinstance(piece, Coupon) and coupon_key is not None:
                    self._coupon()
                in_address = ends_in_address(piece, in_address)
            else:
                self._field(piece, columns[piece.field.number, 0, piece.field.column], in_address)
        if not any(a.look_alikes and self.possible >> no & 1 for no, a in enumerate(alphabets)):
            self.changed = {}

    @property
    def octets(self) -> tuple[bytes, bytes, bytes, bytes, int, bytes | None]:
        pieces, leaps = b"".join(_PIECE.pack(*piece) for piece in self._pieces), kernel.leaps_of(self._literals)
        return bytes(self._ops), pieces, bytes(self._heap), leaps, self.possible, self._coupon_key

    def _literal(self, text: str, in_address: bool) -> None:
        said = transliterate(text, in_address)
        at, octets = self._lay(text, said)
        for no, mine in enumerate(octets):
            if mine is None:
                self.possible &= ~(1 << no)
        self._ops += _OP.pack(kernel.OPS["literal"], 0, at, len(self._literals), kernel.NO_PIECE, 0, 0)
        self._literals += [mine or b"" for mine in octets]

    def _coupon(self) -> None:
        """A member's code in the place of the literal laid last, which has said which alphabets have its letters."""
        self._ops[-_OP.size :] = _OP.pack(kernel.OPS["coupon"], 0, 0, 0, kernel.NO_PIECE, 0, 0)

    def _field(self, ref: Reference, column: int, verbatim: bool) -> None:
        asked, at = ref.field, len(self._pieces)
        words = _words(ref)
        for word in words:
            self._value(word[: ref.max_characters or None], verbatim or has_address(word))
        fallback = kernel.NO_PIECE
        if ref.fallback is not None:
            fallback = self._value(ref.fallback, verbatim or has_address(ref.fallback))
        kind = kernel.OPS[_BY_KIND.get(asked.kind) or _BY_COLUMN[asked.column]]
        self._ops += _OP.pack(kind, column, at, len(words), fallback, ref.max_characters, verbatim)

    def _value(self, text: str, verbatim: bool) -> int:
        said = text if verbatim else "".join(look_alikes().get(character, character) for character in text)
        return self._lay(text, said)[0]

    def _lay(self, text: str, said: str) -> tuple[int, list[bytes | None]]:
        """A piece in every alphabet: where it is, and its octets; `said` is it with look-alikes."""
        at = len(self._pieces)
        octets = [alphabet.octets_of(said if alphabet.look_alikes else text) for alphabet in self._alphabets]
        for mine in octets:
            if mine is None:
                self._pieces.append((0, kernel.NO_PIECE))
                continue
            if mine not in self._laid:
                self._laid[mine] = len(self._heap)
                self._heap += mine
            self._pieces.append((self._laid[mine], len(mine)))
        if said != text:
            self.changed |= {character: look_alikes()[character] for character in text if character in look_alikes()}
        return at, octets


def _words(ref: Reference) -> Sequence[str]:
    if ref.field.kind == "bool":
        return BOOL_WORDS
    return ref.field.values if ref.field.kind == "dict" else ()
