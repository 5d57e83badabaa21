"""Conditions on campaigns, messages and consent as keys of given bitmaps.

Touches: titles of campaigns, through the mapping it is handed.
Rests on: PRODUCT E; given.py, whose keys engagement.py answers. A span begins at 00:00 of its first day in the
tenant's zone and ends at the evaluation's instant.

What consent means here: a number may be sent to until it says no, so `consented to marketing` is everybody who has
not opted out of marketing, the very plane that guards a send. With `in last`, the number must also have said yes in
that time (a lift of an opt-out, or a consent with evidence). `opted out of` is the plane; with `in last`, the word
that set it fell in that time. A purpose that nobody can opt out of (transactional, otp) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.records.keys import parse_public_id
from dispatcher.segments import rule
from dispatcher.segments.column_tests import Always, Complement, Every, Given, OnPlanes, Some, Test
from dispatcher.segments.dated import compared, whole
from dispatcher.segments.dates import Moment
from dispatcher.segments.given import ConsentChanged, Engaged, MessagesIn
from dispatcher.segments.refusal import nearest, refused
from dispatcher.store.columns import FLAGS
from dispatcher.store.layout import OPTOUT_GROUPS

MESSAGES_MAX = (1 << 32) - 1
VERBS = {"replied to": "replied", "held out of": "held_out"}  # the language's word -> the key's, where they differ


def consent(node: rule.Consent, moment: Moment) -> Test:
    group = node.purpose
    if group not in OPTOUT_GROUPS:
        groups = list(OPTOUT_GROUPS)
        detail = f"nobody can opt out of `{group[:40]}`; purposes with consent are {', '.join(groups)}"
        raise refused(detail, node.at, groups, nearest(group, groups))
    out: Test = OnPlanes(((FLAGS, 1 << OPTOUT_GROUPS[group]),))
    consents = node.what == "consented to"
    state = Complement(out) if consents else out
    if node.span is None:
        return state
    what = "consented" if consents else "opted_out"
    return Every((state, Given(ConsentChanged(what, group, moment.since_ms(node.span)))))


def campaign(node: rule.Campaign, moment: Moment, campaigns: Mapping[str, tuple[int, ...]]) -> Test:
    """campaigns: title -> the campaigns that carry it. A campaign's public id is taken too."""
    verb = VERBS.get(node.verb, node.verb)
    if node.text is not None and verb != "replied":
        detail = f"`with` asks what a reply says, so it goes with `replied to`, not with `{node.verb}`"
        raise refused(detail, node.text.at, ["in last"], "replied to")
    text = node.text.text if node.text else None
    since_ms = moment.since_ms(node.span) if node.span else None
    if node.name is None:
        return Given(Engaged(verb, None, text, since_ms))
    title = node.name.text
    number = parse_public_id("cmp", title)
    known = {each for numbers in campaigns.values() for each in numbers} if number is not None else set()
    numbers = campaigns.get(title) or tuple(known & {number})
    if not numbers:
        guess = nearest(title, campaigns)
        hint = f"; the nearest is {rule.quote(guess)}" if guess else ""
        raise refused(f"no campaign is called {rule.quote(title[:64])}{hint}", node.name.at, (), guess)
    return _some([Given(Engaged(verb, each, text, since_ms)) for each in numbers])


def messages(node: rule.Messages, moment: Moment) -> Test:
    """Nobody's number of messages is unknown: without one it is 0."""
    since_ms = moment.since_ms(node.span)
    ranges = compared(node.comparison, whole(node.value.text, node.value.at), 0, MESSAGES_MAX)
    return _some([Given(MessagesIn(since_ms, low, high)) for low, high in ranges])


def _some(parts: list[Test]) -> Test:
    return parts[0] if len(parts) == 1 else Some(tuple(parts)) if parts else Always(False)
