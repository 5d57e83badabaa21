"""One person's messages: for each campaign whose audience they were in what was decided and why, every part with its
id, every attempt, answer and receipt with its time, and what the person wrote back.

Touches: what contacts.py and recipients.py read, the outcome log through store/trail.py, rows of `replies`, `inbound`
and `outbox`; one Snapshot.
Rests on: a frozen audience is bitmaps, so "were they in it" is one row a campaign; the ledger's arrays are by rank, so
what became of them is one octet of each; the log is looked through only between the times that the ledger names.
Nothing of it grows with the ledger's entries: it grows with the campaigns that the person was in (a page of them) and
the rows of campaigns (10 us each). Of a message of one part that was claimed once the ledger knows all but the id,
which is at a known place; only for others is the log looked through, MANY_OCTETS a message and 64 MB a page at most,
and `complete` is false where that was not enough, or where
the file of an archived campaign cannot be read. Replies and single messages are looked for among the newest LOOKED.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgpack

from dispatcher.apps.archive import filled_one
from dispatcher.apps.messages_shown import get_message
from dispatcher.apps.timeline import Person, person_of
from dispatcher.campaigns.campaign import LATER
from dispatcher.campaigns.contacts import rank_of
from dispatcher.campaigns.recipients import recipients
from dispatcher.campaigns.states import PLANNED
from dispatcher.clock import rfc3339
from dispatcher.records.batches import CONFIRMATIONS_BIT, batches_of, is_message_batch, message_id, purpose_of_batch
from dispatcher.records.keys import public_id, public_member_id
from dispatcher.records.states import Decision, State
from dispatcher.segments.caps import capped_by
from dispatcher.store import ledger
from dispatcher.store.endpoints import endpoint_numbers
from dispatcher.store.layout import ARRAYS, BLOCK, TENANT, TENANT_U64, U64, U64_U32
from dispatcher.store.part_ids import id_text
from dispatcher.store.replies import REPLY
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.trail import (
    ACCEPTED,
    CLAIM,
    RECEIPT,
    REFUSED,
    RELEASED,
    RETRY,
    SETTLED,
    SKIPPED,
    UNCERTAIN,
    Step,
    Trail,
)
from dispatcher.store.values import unpack
from dispatcher.tenants.rules import rules_of
from dispatcher.tenants.tenant import need_tenant

LOOKED = 20_000  # replies, and again entries of the outbox: 10 ms
FEW_OCTETS, MANY_OCTETS = 1 << 20, 32 << 20  # of the log that one message is worth
REPLY_REACH_MS = 72 * 3_600_000  # PRODUCT F: a message answers the last campaign that was sent, at most 72 h before
BY_NUMBER = 1  # in the high octet of a receipt's status: it was matched by the number
SINGLES = 50
WHY = {
    Decision.UNDECIDED: "not decided yet",
    Decision.NO_VALID_NUMBER: "the member has no valid number",
    Decision.SUPPRESSED: "the number is suppressed",
    Decision.OPTED_OUT: "the number has opted out of this purpose",
    Decision.NO_CONSENT: "no consent to this purpose is known",
    Decision.FREQUENCY_CAP: "enough messages in a short time already",
    Decision.QUIET: "the quiet hours did not end before the campaign did",
    Decision.HOLDOUT: "held out, to compare with those who were sent to",
    Decision.OVER_BUDGET: "the campaign's budget was used up",
    Decision.OVER_QUOTA: "the tenant's quota was used up",
    Decision.ERASED: "the member was erased",
    Decision.NO_VALUE: "a field of the text has no value and no fallback",
    Decision.TEXT_GREW: "the text would need more parts than allowed",
    Decision.CANCELLED: "the campaign was cancelled first",
    Decision.NO_ALPHABET: "the endpoint has no alphabet for the characters of the text",
    Decision.NO_ROUTE: "no route fits the number, or, in an older campaign, no alphabet the text",
}
UNCERTAIN_BY = {1: "no answer in time", 2: "the bind was lost", 3: "the process was killed", 4: "the power was cut"}
Found = dict[str, Any]


def messages(
    view: Snapshot,
    tenant: int,
    member_no: int,
    now_ms: int,
    *,
    limit: int = 20,
    before: int | None = None,
    folder: Path | None = None,
) -> Found | None:
    """{data: newest campaign first, next: the campaign to go on before, single: messages born alone}; None when there
    is no such member. `single` comes with the first page. folder: of the data, for what is archived."""
    person = person_of(view, tenant, member_no)
    if person is None:
        return None
    told = _Teller(view, tenant, folder)
    data: list[Found] = []
    following = last = None
    for campaign, row, no, rank in _audiences(view, tenant, person, before):
        if len(data) >= limit and campaign != last:  # members that were merged may have been in the same one
            following = last
            break
        data.append(told.message(campaign, row, no, rank))
        last = campaign
    complete = _answer(view, tenant, person, data)
    for found in data:
        del found["at_ms"]
    single, whole = _single(view, tenant, person, now_ms) if before is None else ([], True)
    return {"data": data, "next": following, "single": single, "complete": complete and whole}


def _audiences(
    view: Snapshot, tenant: int, person: Person, before: int | None
) -> Iterator[tuple[int, dict[str, Any], int, int]]:
    """(campaign, row, member_no, rank), newest first, of those that began, or were held or cancelled first. Members
    merged into this one are the person too."""
    after = None if before is None else TENANT_U64.pack(tenant, before)
    for key, octets in view.buffers("campaigns", TENANT.pack(tenant), after=after, reverse=True):
        campaign = TENANT_U64.unpack(key)[1]
        ranks = [(no, rank) for no in person.members if (rank := rank_of(view, campaign, no)) is not None]
        if ranks:
            row = LATER | unpack(octets)
            for no, rank in ranks if row["audience"] and row["state"] not in PLANNED else ():
                yield campaign, row, no, rank


class _Teller:
    """Tells one message after the other; the log that may be read is one budget for all."""

    def __init__(self, view: Snapshot, tenant: int, folder: Path | None) -> None:
        self._view, self._tenant, self._folder = view, tenant, folder
        self._trail = Trail(view)
        self._endpoints = {number: name for name, number in endpoint_numbers(view).items()}

    def message(self, campaign: int, row: dict[str, Any], member_no: int, rank: int) -> Found:
        (known,) = recipients(self._view, self._tenant, campaign, after_rank=rank - 1 if rank else None, limit=1)
        known, readable = filled_one(self._view, self._tenant, campaign, known, self._folder)
        decision = Decision[known["decision"].upper()]
        steps, complete = self._steps(campaign, row, rank, known)
        sent_ms = _ms(known["submitted_at"])
        return {
            "campaign": public_id("cmp", campaign),
            "title": row["title"],
            "purpose": row["purpose"],
            "member": public_member_id(member_no),
            **{name: known[name] for name in ("group", "rank", "decision")},
            "why": _why(decision, known),
            "capped_by": self._capped(campaign, row, member_no, steps) if decision is Decision.FREQUENCY_CAP else None,
            **{name: known[name] for name in ("state", "tries", "error", "submitted_at", "final_at")},
            "parts": self._parts(campaign, rank, known, steps),
            "steps": [self._step(step) for step in steps],
            "complete": complete and readable,
            "replies": [],
            "at_ms": sent_ms or row["started_ms"] or row["created_ms"],
        }

    def _capped(self, campaign: int, row: dict[str, Any], member_no: int, steps: list[Step]) -> Found | None:
        """The messages that were enough, when it was decided."""
        rules = rules_of(need_tenant(self._view, self._tenant), row["purpose"], row["caps"])
        at_ms = steps[-1].at_ms if steps else row["started_ms"] or row["created_ms"]
        return capped_by(self._view, self._tenant, rules.caps, member_no, at_ms, campaign=campaign)

    def _steps(self, campaign: int, row: dict[str, Any], rank: int, known: Found) -> tuple[list[Step], bool]:
        """(what happened, whether that is all of it)."""
        if known["decision"] in (Decision.UNDECIDED.word, Decision.CANCELLED.word):
            return [], True
        sent_ms, final_ms = _ms(known["submitted_at"]), _ms(known["final_at"])
        began_ms = row["started_ms"] or row["created_ms"]
        if known["decision"] != Decision.SENT.word:
            steps, _ = self._trail.of(campaign, rank, since_ms=began_ms, until_ms=row["finished_ms"], most=FEW_OCTETS)
            return steps, True
        answered = self._array(campaign, "log_no", rank)
        if (row["archive"] or {}).get("at_ms") and sent_ms is not None:  # its log may be gone
            steps, complete = self._trail.of(campaign, rank, since_ms=sent_ms, until_ms=final_ms, most=FEW_OCTETS)
            if complete and steps:
                return steps, known["tries"] == 1
            return self._by_ledger(campaign, rank, known, [], sent_ms, final_ms), known["parts"] == 1
        position = ledger.log_base(self._view, campaign) + answered - 1
        plain = bool(answered and sent_ms and known["parts"] == 1 and known["tries"] == 1)
        since_ms = sent_ms if known["tries"] == 1 and sent_ms else began_ms
        most = FEW_OCTETS if plain else MANY_OCTETS
        steps, complete = self._trail.of(campaign, rank, since_ms=since_ms, until_ms=final_ms, most=most)
        if not complete and answered:
            steps = self._trail.near(campaign, rank, position)
            if plain and sent_ms is not None:
                return self._by_ledger(campaign, rank, known, steps, sent_ms, final_ms), True
        return steps, complete

    def _by_ledger(
        self, campaign: int, rank: int, known: Found, near: list[Step], sent_ms: int, final_ms: int | None
    ) -> list[Step]:
        """A message of one part, claimed once and answered: the ledger has it all, in whole seconds, but for its id."""
        steps = [step for step in near if step.kind == ACCEPTED]
        endpoint = steps[0].endpoint if steps else -1
        if not any(step.kind == CLAIM for step in near):
            steps.insert(0, Step(CLAIM, 0, 1, 0, b"", sent_ms, endpoint))
        else:
            steps = [step for step in near if step.kind in (CLAIM, ACCEPTED)]
        receipts = [step for step in near if step.kind == RECEIPT]
        if not receipts and final_ms is not None:
            state = State[known["state"].upper()]
            receipts = [Step(RECEIPT, 0, state, known["error"] or 0, b"", final_ms, endpoint)]
        return steps + receipts

    def _parts(self, campaign: int, rank: int, known: Found, steps: list[Step]) -> list[Found]:
        parts: list[Found] = []
        ids = dict(enumerate(known.get("message_ids") or [known["message_id"]]))  # all of them out of an archive
        for part in range(known["parts"]):
            mine = [step for step in steps if step.part == part and step.kind != CLAIM]
            accepted = next((step for step in reversed(mine) if step.kind == ACCEPTED), None)
            receipt = next((step for step in reversed(mine) if step.kind in (RECEIPT, SETTLED)), None)
            parts.append(
                {
                    "part": part + 1,
                    "state": ledger.state_of(self._view, campaign, rank, part).word,
                    "message_id": id_text(accepted.id) if accepted else ids.get(part),
                    "accepted_at": rfc3339(accepted.at_ms) if accepted else None,
                    "final_at": rfc3339(receipt.at_ms) if receipt else None,
                }
            )
        return parts

    def _step(self, step: Step) -> Found:
        said: Found = {"at": rfc3339(step.at_ms), "what": _WORDS.get(step.kind, "unknown")}
        if step.kind == CLAIM:
            if step.state >= ledger.SKIPPED:
                return {**said, "what": "skipped", "decision": _word(Decision, step.state - ledger.SKIPPED)}
            taken = ledger.claimed_parts(step.state, step.part)
            return {**said, "parts": [part + 1 for part in taken], "endpoint": self._endpoints.get(step.endpoint)}
        said["part"] = step.part + 1
        if step.kind == ACCEPTED:
            said["message_id"] = id_text(step.id)
        elif step.kind in (REFUSED, RETRY):
            said["command_status"] = f"0x{step.status:08X}"
        elif step.kind == UNCERTAIN:
            said["why"] = UNCERTAIN_BY.get(step.state, "unknown")
        elif step.kind == SKIPPED:
            said["decision"] = _word(Decision, step.state)
        elif step.kind in (RECEIPT, SETTLED):
            said["state"] = _word(State, step.state)
            if error := step.status & 0xFFFFFF:
                said["error"] = f"{error:03X}" if step.kind == SETTLED else str(error)
            if step.kind == RECEIPT and step.status >> 24 == BY_NUMBER:
                said["matched"] = "by number"
        return {**said, "endpoint": self._endpoints.get(step.endpoint)}

    def _array(self, campaign: int, name: str, rank: int) -> int:
        chunk, r = divmod(rank, BLOCK)
        width = ARRAYS[name][1]
        array = ledger.read_array(self._view, campaign, name, chunk)
        return 0 if array is None else int.from_bytes(array[width * r : width * (r + 1)], "little")


_WORDS = {
    CLAIM: "claimed",
    ACCEPTED: "accepted",
    REFUSED: "refused",
    RETRY: "refused for now",
    RELEASED: "given back",
    UNCERTAIN: "uncertain",
    RECEIPT: "receipt",
    SKIPPED: "stopped",
    SETTLED: "settled",
}


def _why(decision: Decision, known: Found) -> str | None:
    if decision is not Decision.SENT:
        return WHY.get(decision, decision.word.replace("_", " "))
    if known["state"] == State.UNCERTAIN.word:
        return "it may have arrived: its answer was lost"
    return None


def _answer(view: Snapshot, tenant: int, person: Person, data: list[Found]) -> bool:
    """Put what the person wrote to the message that it answers; whether all of it was looked at."""
    sent = [found for found in data if found["submitted_at"] is not None]
    if not sent:
        return True
    first = min(found["at_ms"] for found in sent)
    latest = max(found["at_ms"] for found in sent) + REPLY_REACH_MS
    theirs = {no.to_bytes(4, "little") for no in person.members}
    rows = view.buffers("replies", TENANT.pack(tenant), after=TENANT_U64.pack(tenant, (first << 16) - 1))
    for key, value in islice(rows, LOOKED):
        number = TENANT_U64.unpack(key)[1]
        if number >> 16 > latest:
            return True
        if bytes(value[8:12]) not in theirs:
            continue
        at_ms = REPLY.unpack(value)[0]
        reached = [found for found in sent if found["at_ms"] // 1000 * 1000 <= at_ms <= found["at_ms"] + REPLY_REACH_MS]
        if reached:
            written = view.get("inbound", key)
            text = unpack(written)["text"] if written else None
            found = max(reached, key=lambda one: one["at_ms"])
            found["replies"].append({"id": public_id("inb", number), "at": rfc3339(at_ms), "text": text})
    return next(rows, None) is None


def _single(view: Snapshot, tenant: int, person: Person, now_ms: int) -> tuple[list[Found], bool]:
    """Answers and single messages to the person's numbers, newest first; whether all were looked at."""
    needles = [b"\xa2to" + msgpack.packb(number) for number in person.numbers]
    found: list[tuple[int, Found]] = []
    batches = [batch for batch in batches_of(tenant) if next(view.buffers("outbox", U64.pack(batch)), None) is not None]
    whole = True
    for batch in batches if needles else ():
        rows = view.buffers("outbox", U64.pack(batch), reverse=True)
        for key, value in islice(rows, LOOKED // len(batches)):
            octets = bytes(value)
            if not any(needle in octets for needle in needles):
                continue
            row, position = unpack(octets), U64_U32.unpack(key)[1]
            if row["to"] in person.numbers:
                found.append((row["created_ms"], _shown(view, tenant, batch, position, row, now_ms)))
        whole = whole and next(rows, None) is None
    found.sort(key=lambda one: -one[0])
    return [shown for _, shown in found[:SINGLES]], whole and len(found) <= SINGLES


def _shown(view: Snapshot, tenant: int, batch: int, position: int, row: dict[str, Any], now_ms: int) -> Found:
    if is_message_batch(batch):
        shown = get_message(view, tenant, message_id(position, purpose_of_batch(batch)), now_ms)
        assert shown is not None
        return {"kind": "message", **shown}
    state = ledger.state_of(view, batch, position, 0)
    kind = "confirmation" if batch & CONFIRMATIONS_BIT else "answer"
    return {"kind": kind, "at": rfc3339(row["created_ms"]), "text": row["text"], "state": state.word}


def _word(kind: type[Decision] | type[State], number: int) -> str:
    try:
        return kind(number).word
    except ValueError:
        return str(number)


def _ms(text: str | None) -> int | None:
    return None if text is None else int(datetime.fromisoformat(text).timestamp() * 1000)
