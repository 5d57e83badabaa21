"""The box of what is uncertain: messages that may have arrived, why that is not known, and a person's word on them.

Touches: ledger arrays and the outcome log, rows of `campaigns` and `outbox`, through a view.
Rests on: DESIGN 4: uncertain is what reached a socket and was not durably answered. A receipt may still settle it, for
otp, transactional and service one resend does; the rest waits for a person, or ends as `unknown` with its validity.

    sent     it went out: no_receipt, and delivered once a receipt says so
    failed   it did not: failed; a later :resend of the campaign reaches it
    resend   once more, now, while its campaign is being sent; the one before may have arrived too

A decision is a value of the outcome log in the transaction of its audit entry; one that something else settled before
stays as that said. Weak spot: a resend is on disk when it is claimed, milliseconds later; until then it is uncertain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dispatcher.apps.messages import parse_message_id
from dispatcher.campaigns.campaign import LATER, load, need_campaign
from dispatcher.campaigns.expand import members_of_ranks
from dispatcher.campaigns.recipients import recipients
from dispatcher.campaigns.states import ACTIVE, conflict
from dispatcher.clock import rfc3339
from dispatcher.control.commands import DecideUncertain, Envelope
from dispatcher.errors import CommandRefused
from dispatcher.members.msisdn import international
from dispatcher.records.batches import is_batch, message_batch, message_id, purpose_of_batch
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Purpose, State
from dispatcher.store import ledger, log_values
from dispatcher.store.endpoints import endpoint_numbers
from dispatcher.store.layout import BLOCK, TENANT, TENANT_U64, U64_U32
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.trail import UNCERTAIN, newest_of_kind, settled_value
from dispatcher.store.values import unpack

CAUSES = {1: "timeout", 2: "bind_lost", 3: "kill", 4: "power_cut"}
DECISIONS = {"sent": State.NO_RECEIPT, "failed": State.FAILED, "resend": None}
AT_ONCE = 10_000  # messages of one decision
LOG_OCTETS = 1 << 30  # read for the causes: a quarter of a second
WAIT_MS = 86_400_000  # past the validity: then it ends as unknown (DESIGN 4)

Row = dict[str, Any]
Cause = tuple[int, int, int, int]  # reason, bind + 1 (0: not known), at_ms, endpoint


@dataclass(frozen=True, slots=True)
class Box:
    """One campaign's, or one batch's of single messages."""

    id: int
    ranks: list[int]


def boxes(view: Snapshot, tenant: int) -> Iterator[Box]:
    """Newest campaign first, then single messages by purpose."""
    for key, _ in view.buffers("campaigns", TENANT.pack(tenant), reverse=True):
        yield from _box(view, TENANT_U64.unpack(key)[1])
    for purpose in Purpose:
        yield from _box(view, message_batch(tenant, purpose))


def _box(view: Snapshot, id_: int) -> Iterator[Box]:
    if ledger.read_counts(view, id_).state(State.UNCERTAIN):
        ranks = [
            rank
            for chunk in ledger.chunks(view, id_)
            for rank in ledger.ranks_in_state(
                ledger.read_array(view, id_, "state", chunk) or b"", State.UNCERTAIN, chunk * BLOCK
            )
        ]
        if ranks:
            yield Box(id_, ranks)


def uncertain(
    view: Snapshot, tenant: int, *, campaign: int | None = None, cause: str = "", limit: int = 100,
    after: tuple[int, int] | None = None,
) -> tuple[list[Row], tuple[int, int] | None, Row]:  # fmt: skip
    """(rows, where to go on after or None, {total, campaigns}); of one campaign or of one cause where asked.

    A row: {campaign or message, title, purpose, rank, member, msisdn, parts, tries, submitted_at, cause, endpoint,
    bind, at, ends_at}; cause is null where the log is too long to look.
    """
    found = list(_box(view, campaign)) if campaign is not None else list(boxes(view, tenant))
    order = _fitting(view, [(box.id, rank) for box in found for rank in box.ranks], cause)
    begin = 0 if after is None else next((at for at, one in enumerate(order) if one == after), len(order) - 1) + 1
    chosen = order[begin : begin + limit]
    causes, _ = newest_of_kind(view, UNCERTAIN, chosen, LOG_OCTETS)
    names = {number: name for name, number in endpoint_numbers(view).items()}
    shown = [_shown(view, tenant, id_, rank, causes.get((id_, rank)), names) for id_, rank in chosen]
    more = chosen[-1] if chosen and begin + limit < len(order) else None
    return shown, more, {"total": len(order), "campaigns": len({id_ for id_, _ in order if not is_batch(id_)})}


def decide_uncertain(view: Snapshot, command: DecideUncertain, envelope: Envelope) -> tuple[Changes, Row]:
    """Reply: {id of the campaign, decision, decided, parts, left: that fit and are for another call, resend: [[id,
    rank, part, member_no]]}; the audit tells all but the last two.

    Raises CommandRefused 422 for a word that is none, 404, 409 not_uncertain when nothing (named) is uncertain, and for
    a resend of what is not being sent any more.
    """
    if command.decision not in DECISIONS:
        detail = f"decision {command.decision!r}: one of {', '.join(DECISIONS)}"
        raise CommandRefused(422, "invalid_value", detail, errors=[_problem("/decision", detail)])
    if command.cause and command.cause not in CAUSES.values():
        detail = f"cause {command.cause!r}: one of {', '.join(CAUSES.values())}"
        raise CommandRefused(422, "invalid_value", detail, errors=[_problem("/cause", detail)])
    if (command.campaign is None) == (not command.messages):
        detail = "say of which campaign, or which single messages"
        raise CommandRefused(422, "invalid_value", detail, errors=[_problem("/campaign", detail)])
    wanted = _messages(command, envelope) if command.messages else _of_campaign(view, command, envelope)
    taken, left = wanted[:AT_ONCE], len(wanted) - AT_ONCE
    changes = Changes()
    parts: dict[int, list[tuple[int, int]]] = {}
    for id_, rank in taken:
        mine = [(rank, part) for part in ledger.parts_in_state(view, id_, rank, State.UNCERTAIN)]
        if not mine and (command.ranks or command.messages):
            raise conflict(f"{_name(id_, rank)} is not uncertain: {_state(view, id_, rank)}", "not_uncertain")
        parts.setdefault(id_, []).extend(mine)
    decided = sum(map(len, parts.values()))
    if not decided:
        raise conflict("nothing that fits is uncertain (any more)", "not_uncertain")
    reply: Row = {"decision": command.decision, "decided": len(taken), "parts": decided, "left": max(0, left)}
    if command.campaign is not None:
        reply["id"] = public_id("cmp", command.campaign)
    state = DECISIONS[command.decision]
    if state is None:
        return changes, reply | {"resend": _resend(view, envelope.tenant, parts)}
    position = ledger.next_position(view)
    for id_, mine in parts.items():
        position = log_values.put(changes, position, settled_value(id_, mine, state, envelope.at_ms))
    return changes, reply


def _of_campaign(view: Snapshot, command: DecideUncertain, envelope: Envelope) -> list[tuple[int, int]]:
    assert command.campaign is not None
    need_campaign(view, envelope.tenant, command.campaign)
    if command.ranks:
        return [(command.campaign, rank) for rank in dict.fromkeys(command.ranks)]
    ranks = [(box.id, rank) for box in _box(view, command.campaign) for rank in box.ranks]
    return _fitting(view, ranks, command.cause, command.before_ms)


def _fitting(
    view: Snapshot, ranks: list[tuple[int, int]], cause: str, before_ms: int | None = None
) -> list[tuple[int, int]]:
    """Those of one cause and uncertain since before then, where that is asked."""
    if not cause and before_ms is None:
        return ranks
    causes, complete = newest_of_kind(view, UNCERTAIN, ranks, LOG_OCTETS)
    if not complete:
        raise conflict("the log is too long to tell the cause of all of them: go by ranks", "log_too_long")
    return [
        one
        for one in ranks
        if (not cause or CAUSES.get(causes[one][0]) == cause) and (before_ms is None or causes[one][2] < before_ms)
    ]


def _messages(command: DecideUncertain, envelope: Envelope) -> list[tuple[int, int]]:
    found = []
    for text in dict.fromkeys(command.messages):
        parsed = parse_message_id(text)
        if parsed is None:
            raise CommandRefused(404, "not_found", f"there is no message {text[:40]!r}")
        found.append((message_batch(envelope.tenant, parsed[1]), parsed[0]))
    return found


def _resend(view: Snapshot, tenant: int, parts: dict[int, list[tuple[int, int]]]) -> list[list[int]]:
    found = []
    for id_, mine in parts.items():
        if is_batch(id_):
            found += [[id_, rank, part, rank] for rank, part in mine]
            continue
        row = load(view, tenant, id_)
        if row is None or row["state"] not in ACTIVE:
            state = "gone" if row is None else row["state"]
            detail = f"the campaign is {state}: decide `failed`, then make a new one to those (:resend)"
            raise conflict(detail, state=state)
        members = members_of_ranks(view, id_, sorted({rank for rank, _ in mine}))
        found += [[id_, rank, part, members[rank]] for rank, part in mine]
    return found


def _shown(view: Snapshot, tenant: int, id_: int, rank: int, cause: Cause | None, names: dict[int, str]) -> Row:
    reason, bind, at_ms, endpoint = cause or (0, 0, 0, -1)
    told = {
        "cause": CAUSES.get(reason),
        "endpoint": names.get(endpoint),
        "bind": bind - 1 if bind else None,
        "at": rfc3339(at_ms) if cause else None,
        "parts": [part + 1 for part in ledger.parts_in_state(view, id_, rank, State.UNCERTAIN)],
    }
    if is_batch(id_):
        row = unpack(view.get("outbox", U64_U32.pack(id_, rank)) or b"\x80")
        purpose = purpose_of_batch(id_)
        to, ends_ms = row.get("to", 0), row.get("expiry_ms", 0) + WAIT_MS
        about = {"campaign": None, "message": message_id(rank, purpose), "title": None, "member": None}
        return {
            **about, "purpose": purpose.value, "rank": rank, "msisdn": international(to), "tries": None,
            "submitted_at": None, **told, "ends_at": rfc3339(ends_ms),
        }  # fmt: skip
    octets = view.get("campaigns", TENANT_U64.pack(tenant, id_))
    campaign = LATER | unpack(octets or b"\x80")
    (known,) = recipients(view, tenant, id_, after_rank=rank - 1 if rank else None, limit=1)
    ends_ms = campaign["started_ms"] + 1_000 * campaign["validity_s"] + WAIT_MS
    return {
        "campaign": public_id("cmp", id_), "message": None, "title": campaign["title"],
        "purpose": campaign["purpose"], **{name: known[name] for name in ("rank", "member", "msisdn", "tries")},
        "submitted_at": known["submitted_at"], **told, "ends_at": rfc3339(ends_ms),
    }  # fmt: skip


def _name(id_: int, rank: int) -> str:
    return message_id(rank, purpose_of_batch(id_)) if is_batch(id_) else f"rank {rank}"


def _state(view: View, id_: int, rank: int) -> str:
    return ledger.state_of(view, id_, rank, 0).word


def _problem(pointer: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "code": "invalid_value", "detail": detail}
