"""Preview: the audience frozen under a token, and exactly what a start would send to it: parts, alphabets, texts.

Touches: the members' blocks and the campaign's row, through one View that must stay the same throughout; runs on a
read snapshot in a worker thread, and its Changes are good only while the campaign is at the version it read.
Rests on: campaigns/render.py, which counts with the loop that also renders at claim.

    bitmaps: campaign:8 which:1 block:4   which 0: 255 words, the block's audience; only blocks that have any
                                          which 2, block 0: (block u32, rank of its first recipient u32), ascending

The row keeps the counts and no texts: a person who is erased is not to live on in a sample.
Weak spot: the frozen bitmaps are one commit, which passes 4 MiB at 33 M members.
"""

from __future__ import annotations

import secrets
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, islice
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.campaigns import schedule as schedules
from dispatcher.campaigns.campaign import bitmap_key, compile_text, drop_audience, fingerprint, need_campaign, save
from dispatcher.campaigns.render import PartCounts, Renderer, clear_through
from dispatcher.campaigns.states import next_state
from dispatcher.campaigns.template import Template
from dispatcher.clock import rfc3339
from dispatcher.control.commands import Envelope, PreviewCampaign
from dispatcher.errors import CommandRefused
from dispatcher.records.batch import ROW
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id, public_member_id
from dispatcher.records.states import Decision, Purpose
from dispatcher.segments.plan import Compiled
from dispatcher.segments.plan import compile_text as compile_segment
from dispatcher.segments.select import select
from dispatcher.store.columns import BlockView, next_member_no, open_block
from dispatcher.store.layout import BLOCK
from dispatcher.tenants.tenant import Tenant, need_tenant
from dispatcher.text.alphabet import DATA_CODING_UCS2, outside_gsm7

TOKEN_LIVES_MS = 24 * 3_600_000  # DESIGN 6
TOKEN_OCTETS = 24
SAMPLES = 10
CULPRITS_READ = 20  # members whose text is read to say why UCS-2 is needed
CULPRITS_NAMED = 5  # characters that a warning shows
SENDER_NAME_SHOWN = 11  # characters of an alphanumeric sender that phones take (TS 23.040 9.1.2.5)
ROWS = 4_096  # rendered at a time
AUDIENCE, RANKS = 0, 2
RANK_PAIR = struct.Struct("<II")
# octets of a part_row, records/batch.h
_PART, _DATA_CODING, _DECISION, _SLOT = 22, 25, 26, struct.Struct("<28xI8x")


@dataclass(slots=True)
class Frozen:
    """An audience, block by block in member order, and what rendering it would give."""

    blocks: list[tuple[int, int, bytearray]] = field(default_factory=list)  # block, rank of its first, bitmap
    counts: list[PartCounts] = field(default_factory=list)  # one a block
    total: PartCounts = field(default_factory=PartCounts)
    matched: int = 0

    @property
    def will_send(self) -> int:
        return self.total.decisions[Decision.SENT]


def preview_campaign(view: View, command: PreviewCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Freeze the audience and count. The reply has the token that start asks for, good for 24 h.

    Raises CommandRefused: 404; 409 unless a draft; 422 for a segment or text that is wrong, or no text.
    """
    began = perf_counter()
    tenant = need_tenant(view, envelope.tenant)
    row = need_campaign(view, tenant.number, command.campaign)
    next_state(row, "preview")
    if not row["text"]:
        problem = {"pointer": "/text", "code": "text_missing", "detail": "the campaign has no text yet"}
        raise CommandRefused(422, "text_missing", problem["detail"], errors=[problem])
    schedule = row["schedule"]
    schedules.checked(schedule, tenant.zone, envelope.at_ms)  # its time may be past by now
    template = compile_text(view, tenant.number, row["text"], row["max_parts"])
    compiled = compile_segment(view, tenant.number, row["expr"], as_of_ms=envelope.at_ms)
    renderer = Renderer(template, Purpose(row["purpose"]), row["max_parts"])
    frozen = freeze(view, tenant.number, compiled, renderer)
    counts = counted(frozen)
    row["audience"] = frozen.matched
    row["preview"] = {
        "token": secrets.token_urlsafe(TOKEN_OCTETS),
        "at_ms": envelope.at_ms,
        "expires_ms": envelope.at_ms + TOKEN_LIVES_MS,
        "fingerprint": fingerprint(row),
        "audience": frozen.matched,
        **counts,
    }
    changes = save(tenant.number, command.campaign, row)
    put_audience(view, changes, command.campaign, frozen)
    texts = _Texts(view, tenant.number, renderer, frozen)
    reply = {
        "id": public_id("cmp", command.campaign),
        "version": row["version"],
        "token": row["preview"]["token"],
        "expires_at": rfc3339(row["preview"]["expires_ms"]),
        "as_of": _as_of(envelope.at_ms, tenant),
        "audience": frozen.matched,
        "matched": frozen.matched,
        **counts,
        "schedule": schedules.in_words(schedule, schedules.zone_of(schedule, tenant.zone)) if schedule else "at once",
        "approval_needed": bool(tenant.approval_above) and counts["will_send"] > tenant.approval_above,
        "samples": texts.samples(),
        "longest": texts.longest(),
        "warnings": [*compiled.warnings, *_warnings(row, tenant, template, frozen, texts)],
        "eta": None,  # the pace is the daemon's to know
        "ms": round((perf_counter() - began) * 1000, 1),
    }
    return changes, reply


def freeze_row(view: View, tenant: int, row: dict[str, Any], as_of_ms: int) -> Frozen:
    """A campaign's audience as of now. Raises CommandRefused when its segment or text holds no more."""
    template = compile_text(view, tenant, row["text"], row["max_parts"])
    compiled = compile_segment(view, tenant, row["expr"], as_of_ms=as_of_ms)
    return freeze(view, tenant, compiled, Renderer(template, Purpose(row["purpose"]), row["max_parts"]))


def freeze(view: View, tenant: int, compiled: Compiled, renderer: Renderer) -> Frozen:
    """Who is matched, and every one's decision, parts and alphabet, as they would be now."""
    frozen, no = Frozen(), next_member_no(view, tenant)
    for block, bitmap, matched in select(view, tenant, compiled):
        columns = open_block(view, tenant, block, renderer.columns, next_no=no)
        counts = renderer.count_parts(columns, block * BLOCK, bitmap)
        frozen.blocks.append((block, frozen.matched, bitmap))
        frozen.counts.append(counts)
        frozen.total += counts
        frozen.matched += matched
    return frozen


def _as_of(at_ms: int, tenant: Tenant) -> str:
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(tenant.zone)).isoformat(timespec="milliseconds")


def counted(frozen: Frozen) -> dict[str, Any]:
    """audience = will_send + sum of skipped; will_send = sum of parts = sum of alphabet."""
    total = frozen.total
    return {
        "will_send": frozen.will_send,
        "skipped": {d.word: n for d, n in sorted(total.decisions.items()) if d is not Decision.SENT and n},
        "parts": {str(parts): n for parts, n in sorted(total.parts.items())},
        "alphabet": {"gsm7": frozen.will_send - total.ucs2, "ucs2": total.ucs2},
    }


def put_audience(view: View, changes: Changes, campaign: int, frozen: Frozen) -> None:
    """The bitmaps, in place of those of an earlier preview."""
    drop_audience(view, changes, campaign)
    for block, _, bitmap in frozen.blocks:
        changes.put("bitmaps", bitmap_key(campaign, AUDIENCE, block), bitmap)
    ranks = b"".join(RANK_PAIR.pack(block, first) for block, first, _ in frozen.blocks)
    changes.put("bitmaps", bitmap_key(campaign, RANKS, 0), ranks)


class _Texts:
    """Real texts of a frozen audience, rendered by the kernel for a few members and read back."""

    def __init__(self, view: View, tenant: int, renderer: Renderer, frozen: Frozen) -> None:
        self._view = view
        self._tenant = tenant
        self._renderer = renderer
        self._frozen = frozen

    def samples(self) -> list[dict[str, Any]]:
        """Of those who will be sent to, SAMPLES evenly spread in member order; all of them when they are fewer."""
        upto = list(accumulate(counts.decisions[Decision.SENT] for counts in self._frozen.counts))
        will_send = self._frozen.will_send
        spread = min(SAMPLES, will_send)
        found = []
        for i in range(spread):
            nth = (2 * i + 1) * will_send // (2 * spread)
            index = bisect_right(upto, nth)
            block, _, bitmap = self._frozen.blocks[index]
            columns = self._open(block)
            sent = self._firsts(columns, bitmap, _DECISION, Decision.SENT)
            slot = next(islice(sent, nth - (upto[index - 1] if index else 0), None))
            found.append(self._shown(columns, block, slot))
        return found

    def longest(self) -> list[dict[str, Any]]:
        """Those with the most parts, then octets."""
        of = [divmod(one.member_no, BLOCK) for one in self._frozen.total.longest]
        return [self._shown(self._open(block), block, slot) for block, slot in of]

    def culprits(self) -> tuple[list[str], bool]:
        """(characters outside GSM 7-bit that members' values bring, whether every member concerned was looked at)."""
        characters: dict[str, None] = {}
        read = 0
        for (block, _, bitmap), counts in zip(self._frozen.blocks, self._frozen.counts, strict=True):
            if not counts.ucs2 or read >= CULPRITS_READ:
                continue
            columns = self._open(block)
            ucs2 = self._firsts(columns, bitmap, _DATA_CODING, DATA_CODING_UCS2)
            for slot in islice(ucs2, CULPRITS_READ - read):
                read += 1
                characters |= dict.fromkeys(outside_gsm7(self._renderer.sample(columns, slot).text or ""))
        return list(characters), read == self._frozen.total.ucs2

    def _open(self, block: int) -> BlockView:
        return open_block(self._view, self._tenant, block, self._renderer.columns)

    def _firsts(self, columns: BlockView, bitmap: bytearray, octet: int, value: int) -> Iterator[int]:
        """Slots, ascending, of messages whose first part's row has `value` at `octet`."""
        left = bytearray(bitmap)
        while (batch := self._renderer.render(columns, 0, left, bitmap, 0, ROWS)).count:
            wanted, parts = batch.rows[octet :: ROW.size], batch.rows[_PART :: ROW.size]
            at = wanted.find(value)
            while at >= 0:
                if parts[at] == 0:
                    yield _SLOT.unpack_from(batch.rows, at * ROW.size)[0]
                at = wanted.find(value, at + 1)
            clear_through(left, batch.last_slot)

    def _shown(self, columns: BlockView, block: int, slot: int) -> dict[str, Any]:
        sample = self._renderer.sample(columns, slot)
        return {
            "member": public_member_id(block * BLOCK + slot),
            "text": sample.text,
            "parts": sample.parts,
            "alphabet": "ucs2" if sample.data_coding == DATA_CODING_UCS2 else "gsm7",
        }


def _warnings(row: dict[str, Any], tenant: Tenant, template: Template, frozen: Frozen, texts: _Texts) -> Iterator[str]:
    """What its writer should know before starting, one sentence each."""
    decisions, will_send = frozen.total.decisions, frozen.will_send
    if not frozen.matched:
        yield "The segment matches no member: there is nobody to send to."
    elif not will_send:
        yield f"All that are matched ({frozen.matched:,}) are skipped: there is nobody to send to."
    if n := decisions[Decision.NO_VALUE]:
        bare = " or ".join(f"{{{ref.field.name}}}" for ref in template.references if ref.fallback is None)
        yield f"{_members(n)} skipped because {bare} is not known; a fallback, as in {{name|friend}}, would reach them."
    if n := decisions[Decision.TEXT_GREW]:
        yield f"{_members(n)} skipped because the text would need more than {_parts(row['max_parts'])}."
    if ucs2 := frozen.total.ucs2:
        literal = outside_gsm7("".join(piece for piece in template.pieces if isinstance(piece, str)))
        characters, complete = (literal, True) if literal else texts.culprits()
        named = ", ".join(f"“{character}”" for character in characters[:CULPRITS_NAMED])
        more = "" if complete and len(characters) <= CULPRITS_NAMED else " and others"
        whose = "in the text" if literal else "in their values"
        yield f"{_members(ucs2, 'need')} UCS-2, 70 characters a part instead of 160, because of {named}{more} {whose}."
    sender = row["sender"]
    if not sender:
        yield f"No sender is set, neither here nor for {tenant.title}: the SMSC chooses one."
    elif len(sender) > SENDER_NAME_SHOWN and not sender.removeprefix("+").isdigit():
        yield f"The sender {sender!r} is longer than the {SENDER_NAME_SHOWN} characters that phones show of a name."


def _members(n: int, verb: str = "is") -> str:
    plural = {"is": "are"}.get(verb, verb)
    singular = verb if verb == "is" else f"{verb}s"
    return f"1 member {singular}" if n == 1 else f"{n:,} members {plural}"


def _parts(n: int) -> str:
    return f"{n} part{'s' * (n > 1)}"
