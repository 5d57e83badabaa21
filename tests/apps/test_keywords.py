"""What a phone is answered, and that a confirmation is of its own kind."""

import pytest

from dispatcher.apps.keywords import ANSWER_VALID_MS, react
from dispatcher.apps.points.account import add_points
from dispatcher.control.commands import AddPoints, CreateTenant
from dispatcher.outbox.entry import read_entry
from dispatcher.outcomes.inbound import Heard
from dispatcher.records.batches import batch_of
from dispatcher.records.states import Purpose
from dispatcher.tenants.tenant import create_tenant
from tests.fakes.shop import NOW_MS, do, new_member, new_shop

NUMBER = 4915100000001


@pytest.fixture
def shop(store):
    assert new_shop(store) == 1
    do(
        store,
        create_tenant,
        CreateTenant(title="Named", zone="Europe/Berlin", region="DE", sender="NAMED", brand="Acme"),
        tenant=0,
    )
    return store


def reacted(
    store, what: str, *, number: int = NUMBER, tenant: int = 2, first: bool = False, answer_from: str = "12345"
):
    with store.begin_write() as view:
        changes, entry = react(
            view, Heard(what=what, tenant=tenant, number=number, answer_from=answer_from, first=first), NOW_MS
        )
        view.apply(changes)
        if entry is not None:
            assert read_entry(view, entry.batch, entry.position) == entry
        else:
            assert not changes
    return entry


def test_the_first_stop_is_confirmed_from_the_number_that_was_written_to(shop):
    entry = reacted(shop, "stop", first=True)
    assert entry.text == "Acme: you are unsubscribed and will get no more messages from us."
    assert (entry.to, entry.sender, entry.confirmation, entry.purpose) == (NUMBER, "12345", True, Purpose.SERVICE)
    assert (entry.created_ms, entry.expiry_ms, entry.tenant) == (NOW_MS, NOW_MS + ANSWER_VALID_MS, 2)


def test_a_repeated_stop_and_what_no_word_explains_are_not_answered(shop):
    for what in ("stop", "inbox", "repeat"):
        assert reacted(shop, what) is None
    assert reacted(shop, "stop", first=True, number=0) is None
    assert reacted(shop, "stop", first=True, tenant=9) is None
    assert reacted(shop, "points", tenant=0) is None


def test_start_is_answered_among_the_ordinary_ones(shop):
    entry = reacted(shop, "start", answer_from="")
    assert (entry.batch, entry.position, entry.confirmation, entry.sender) == (batch_of(2), 0, False, "NAMED")
    assert entry.text.startswith("Acme: you will get our messages again.")


def test_points_tells_a_member_its_balance_and_a_stranger_that_it_is_none(shop):
    assert reacted(shop, "points", tenant=1).text.endswith("this number is not registered with us.")
    member = new_member(shop, NUMBER)
    assert reacted(shop, "points", tenant=1).text.endswith("you have 0 points.")
    do(shop, add_points, AddPoints(member_no=member, delta=120, source="till", key="k1"))
    entry = reacted(shop, "points", tenant=1)
    assert entry.text.endswith("you have 120 points.") and entry.position == 2
