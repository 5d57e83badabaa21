"""Single messages: positions count up in their batch, rows come back as they went in, a later opt-out withdraws."""

import pytest

from dispatcher.members.consent import lift_optout, record_optout
from dispatcher.outbox.entry import add_entry, batches, entries, read_entry, withdrawn
from dispatcher.records.batches import batch_of, is_batch
from dispatcher.records.changes import Changes
from dispatcher.records.keys import new_id
from dispatcher.records.states import Purpose
from dispatcher.store.layout import OPTOUT_GROUPS
from tests.fakes.shop import NOW_MS, new_shop

NUMBER = 4915100000001


def added(
    store,
    tenant: int = 1,
    *,
    text: str = "hi",
    purpose: Purpose = Purpose.SERVICE,
    at_ms: int = NOW_MS,
    confirmation: bool = False,
):
    changes = Changes()
    with store.begin_write() as view:
        entry = add_entry(
            changes, view, tenant, to=NUMBER, sender="SHOP", text=text, purpose=purpose, now_ms=at_ms, expiry_ms=at_ms + 10,
            confirmation=confirmation,
        )  # fmt: skip
        view.apply(changes)
    return entry


def test_positions_count_up_within_each_batch(store):
    made = [
        added(store, tenant, text=f"{no}", confirmation=no % 3 == 0)
        for no, tenant in enumerate((1, 2, 1, 1, 2, 1, 65_535))
    ]
    of_batch: dict[int, list[int]] = {}
    for entry in made:
        of_batch.setdefault(entry.batch, []).append(entry.position)
    assert all(positions == list(range(len(positions))) for positions in of_batch.values())
    with store.snapshot() as view:
        assert list(batches(view)) == sorted(of_batch)
        assert [entry for batch in batches(view) for entry in entries(view, batch)] == sorted(
            made, key=lambda e: (e.batch, e.position)
        )
        assert all(read_entry(view, entry.batch, entry.position) == entry for entry in made)
        assert read_entry(view, made[0].batch, 99) is None and list(entries(view, batch_of(9))) == []


def test_an_empty_outbox_has_no_batches(store):
    with store.snapshot() as view:
        assert list(batches(view)) == []


def test_a_batch_says_whose_it_is_and_is_no_campaign():
    for tenant in (1, 300, 65_535):
        answers, confirmations = batch_of(tenant), batch_of(tenant, confirmations=True)
        assert answers != confirmations and is_batch(answers) and is_batch(confirmations)
        assert answers & 0xFFFF == confirmations & 0xFFFF == tenant
    assert not is_batch(new_id(NOW_MS, 7))


@pytest.mark.parametrize(
    ("purpose", "confirmation", "goes"),
    [
        (Purpose.SERVICE, False, False),
        (Purpose.CARE, False, False),
        (Purpose.SERVICE, True, True),
        (Purpose.OTP, False, True),
    ],
)
def test_an_opt_out_after_it_was_made_withdraws_an_answer_and_no_confirmation(store, purpose, confirmation, goes):
    new_shop(store)
    entry = added(store, purpose=purpose, confirmation=confirmation)
    say(store, record_optout, NOW_MS - 1)
    later = added(store, purpose=purpose, confirmation=confirmation, at_ms=NOW_MS + 5)
    with store.snapshot() as view:
        assert not withdrawn(view, entry) and not withdrawn(view, later)  # asked for after the opt-out
    say(store, lift_optout, NOW_MS)
    say(store, record_optout, NOW_MS + 1)
    with store.snapshot() as view:
        assert withdrawn(view, entry) is not goes
        assert not withdrawn(view, later)


def say(store, word, at_ms: int) -> None:
    with store.begin_write() as view:
        view.apply(word(view, 1, NUMBER, tuple(OPTOUT_GROUPS), at_ms, "SMS"))
