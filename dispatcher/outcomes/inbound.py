"""Messages from phones: opt-out words first, then keywords, else the inbox. Each kept before it is answered.

Touches: tables inbound, optouts (through members/consent), those of reassembly.py and seals.py, by View and Changes.
What is answered is apps/'s. Rests on: PRODUCT F (the fixed order), SMPP_FACTS 12. A long message is taken when all of
it is there, or as it is when it has waited long enough; but one part that opts out by itself does so at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from config import SettingError
from dispatcher.members.aliases import writer_of
from dispatcher.members.consent import lift_optout, opted_out, record_optout
from dispatcher.outcomes import reassembly, seals
from dispatcher.outcomes.reassembly import Whole
from dispatcher.outcomes.seals import RECENT_MAX, REPEAT_MS, Recent, seal_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.events import Delivered
from dispatcher.store.ids import next_id
from dispatcher.store.layout import OPTOUT_GROUPS, TENANT_U64
from dispatcher.store.replies import put_reply
from dispatcher.store.values import pack
from dispatcher.tenants import market
from dispatcher.tenants.market import plain
from dispatcher.tenants.profile import Profile, get_profile
from dispatcher.tenants.senders import is_same, users_of
from dispatcher.tenants.tenant import need_tenant, tenant_numbers
from dispatcher.text.decode import decode

__all__ = ["RECENT_MAX", "REPEAT_MS", "Heard", "Recent", "hear", "is_stop", "overdue", "plain", "seal_of"]

OPERATOR = 0
_TYPE, _USER_ACK = 0x3C, 0x10  # of esm_class (SMPP v3.4, 5.2.12): an acknowledgement that a person made
_NUMBER = re.compile(r"\+?[0-9]{1,15}")  # a sender with letters is nobody's phone


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a message was. `answer_from` is the number that was written to."""

    what: str  # stop, start, help, points, inbox, acknowledgement, part (of a long one), repeat
    tenant: int
    number: int  # 0: not a phone number
    answer_from: str
    first: bool = False  # of a stop: the number was not opted out before
    others: tuple[int, ...] = ()  # of a stop: tenants beside the one that answers, for whom it holds too


@dataclass(slots=True)
class _Written:
    """A message from a phone as it is kept; `more`: keys of the row that long ones have."""

    source: str
    destination: str
    text: str | None
    octets: bytes
    data_coding: int
    esm_class: int
    seal: bytes
    more: dict[str, Any]
    acknowledges: bool = False  # its text, if there is any, asks for nothing but an end


def hear(
    view: View, message: Delivered, now_ms: int, recent: Recent, *, endpoint: int = 0, default_alphabet: str = "gsm"
) -> tuple[Changes, Heard]:
    """One message from a phone: its rows and what it was. Octets that no alphabet reads are kept as octets.

    `recent` has its seal from then on: whoever fails to commit the rows takes it out again. `endpoint`: its number;
    `default_alphabet`: what data_coding 0 means there.
    """
    changes = Changes()
    seal, place = seal_of(message), reassembly.place_of(message)
    text = decode(message.data_coding, message.octets, message.udhi, default_alphabet)
    whole = _Written(
        message.source_addr, message.destination_addr, text, bytes(message.octets), message.data_coding,
        message.esm_class, seal, {}, message.is_acknowledgement,
    )  # fmt: skip
    owner = _Owner(view, whole)
    if recent.heard(view, seal, now_ms):
        return changes, owner.heard("repeat", reply=False)
    if recent.doubted(view, changes, seal, now_ms) and not _stops(view, owner, text):
        return changes, owner.heard("repeat", reply=False)
    if place is None:
        return changes, _take(view, changes, owner, whole, now_ms)
    seals.keep(changes, seal, now_ms, seals.PART)
    found = reassembly.add(view, changes, message, place, endpoint, default_alphabet, now_ms)
    for ended in found:
        if ended.missing:  # there was no room for it any longer; nobody is answered
            given = _written(ended)
            _take(view, changes, _Owner(view, given), given, now_ms)
    if found and not found[-1].missing:
        return changes, _take(view, changes, owner, _written(found[-1]), now_ms)
    if owner.stops(plain(text or ""), alone=True):
        return changes, owner.heard("stop", first=_opt_out(view, changes, owner, text or "", now_ms))
    return changes, owner.heard("part", reply=False)


def overdue(view: View, now_ms: int) -> tuple[Changes, Heard] | None:
    """The oldest long message that has waited WAIT_MS for a part of it, as it is; None when there is none. To be asked
    again and again, a commit each. Old seals go with it."""
    changes = Changes()
    whole = reassembly.overdue(view, changes, now_ms)
    if whole is None and not seals.prune(view, changes, now_ms):
        return None
    if whole is None:
        return changes, Heard(what="repeat", tenant=OPERATOR, number=0, answer_from="")
    given = _written(whole)
    return changes, _take(view, changes, _Owner(view, given), given, now_ms)


def is_stop(word: str) -> bool:
    """Whether a plain text opts out: a stop word alone, or first in a sentence without digits ("stop, thanks")."""
    return _profile(None).words.is_opt_out(word)


class _Owner:
    """Whose number was written to, by whom, and what words mean there.

    Several tenants may send under one number. What is written to it is then for those who know the phone: a STOP holds
    for all of them, anything else is the first one's. A number that no tenant is known to use is the only tenant's, or
    of the only one that knows the phone; a STOP to it holds for all that know the phone.
    """

    def __init__(self, view: View, written: _Written) -> None:
        self.number = int(written.source.lstrip("+")) if _NUMBER.fullmatch(written.source) else 0
        self.destination = written.destination
        users = users_of(view, written.destination)
        concerned = users or tenant_numbers(view)
        if len(concerned) > 1:
            concerned = [one for one in concerned if writer_of(view, one, written.source) is not None] or users
        found = [need_tenant(view, one) for one in concerned]  # whose own sender it is come first
        self.concerned = sorted(found, key=lambda one: not is_same(one.sender, written.destination))
        self.tenant = self.concerned[0] if found and (users or len(found) == 1) else None
        self.words = _profile(self.tenant.market_profile if self.tenant else None).words

    @property
    def no(self) -> int:
        return self.tenant.number if self.tenant is not None else OPERATOR

    @property
    def knows(self) -> bool:
        """Words mean something: a phone wrote to a tenant."""
        return self.tenant is not None and self.number > 0

    def stops(self, word: str, *, alone: bool = False) -> bool:
        """Whether a plain text opts out by the words of one whom it concerns; alone: and says nothing else."""
        if not self.number:
            return False
        words = [_profile(one.market_profile).words for one in self.concerned]
        if alone:
            return any(word in one.opt_out_first or word in one.opt_out_alone for one in words)
        return any(one.is_opt_out(word) for one in words)

    def heard(self, what: str, *, first: bool = False, reply: bool = True) -> Heard:
        answer_from = self.destination if reply else ""
        tenant, *others = [one.number for one in self.concerned] if what == "stop" else [self.no]
        return Heard(
            what=what, tenant=tenant, number=self.number, answer_from=answer_from, first=first, others=tuple(others)
        )


def _take(view: View, changes: Changes, owner: _Owner, written: _Written, now_ms: int) -> Heard:
    """A whole message: its row, and what it asks for."""
    word, what, first = plain(written.text or ""), "inbox", False
    words = owner.words
    if owner.stops(word):
        what, first = "stop", _opt_out(view, changes, owner, written.text or "", now_ms)
    elif written.acknowledges:
        what = "acknowledgement"
    elif owner.knows and word in words.opt_in:
        what, evidence = "start", f"SMS: {written.text}"
        for one in owner.concerned:
            changes.merge(lift_optout(view, one.number, owner.number, tuple(OPTOUT_GROUPS), now_ms, evidence))
    elif owner.knows and word in words.help:
        what = "help"
    elif owner.knows and word in market.POINTS_WORDS:
        what = "points"
    row = {
        "from": written.source,
        "to": written.destination,
        "text": written.text,
        "octets": written.octets,
        "data_coding": written.data_coding,
        "esm_class": written.esm_class,
        "what": what,
        "at_ms": now_ms,
        "seal": written.seal,
        "probable_opt_out": what == "inbox" and word.split(" ")[0] in words.opt_out_first | words.opt_out_alone,
        **written.more,
    }
    heard = owner.heard(what, first=first)
    message_id = next_id(changes, view, now_ms)
    changes.put("inbound", TENANT_U64.pack(heard.tenant, message_id), pack(row))
    # what a phone acknowledges by itself is no reply of its owner
    by_hand = what != "acknowledgement" or written.esm_class & _TYPE == _USER_ACK
    if by_hand and heard.tenant and (member_no := writer_of(view, heard.tenant, written.source)) is not None:
        put_reply(changes, heard.tenant, message_id, member_no, now_ms, word)
    return heard


def _stops(view: View, owner: _Owner, text: str | None) -> bool:
    """It opts out who is not: that is never taken for a repeat on suspicion."""
    return owner.stops(plain(text or "")) and _is_first(view, owner)


def _opt_out(view: View, changes: Changes, owner: _Owner, text: str, now_ms: int) -> bool:
    """Whether the number was not opted out before."""
    first = _is_first(view, owner)
    for one in owner.concerned:
        changes.merge(record_optout(view, one.number, owner.number, tuple(OPTOUT_GROUPS), now_ms, f"SMS: {text}"))
    return first


def _is_first(view: View, owner: _Owner) -> bool:
    return not all(
        opted_out(view, one.number, owner.number, group) for one in owner.concerned for group in OPTOUT_GROUPS
    )


def _written(whole: Whole) -> _Written:
    part = next(iter(whole.parts.values()))
    more = {"parts": whole.total, "missing": whole.missing, "first_ms": whole.first_ms}
    seal = seal_of(Delivered(source_addr=whole.source, destination_addr=whole.destination, octets=whole.octets))
    return _Written(
        whole.source, whole.destination, whole.text, whole.octets, part["data_coding"], part["esm_class"], seal, more
    )  # fmt: skip


@lru_cache(64)
def _profile(name: str | None) -> Profile:
    """A market's; where its file is wrong by now, what holds everywhere: nobody's STOP waits for a file."""
    try:
        return get_profile(name or "none")
    except SettingError:
        return get_profile("none")
