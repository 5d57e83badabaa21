"""What time settles and drops of messages born alone."""

from __future__ import annotations

from dispatcher.campaigns.campaign import load, save
from dispatcher.daemon.channel import Channel
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.housekeeping import _minute
from dispatcher.daemon.sweeper import ENTRIES_AT_ONCE, drop_old_answers, settle_answers_by_time
from dispatcher.outbox.entry import Entry, add_entry, entries
from dispatcher.records.batches import batch_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Purpose, State
from dispatcher.smpp.pump import REPLIES, Kind
from dispatcher.store import Store, audit, ledger
from dispatcher.store.layout import U64
from tests.fakes.channels import new_feeder
from tests.fakes.house import House, in_house

HOUR, DAY = 3_600_000, 86_400_000


def write(store: Store, count: int, at_ms: int) -> list[Entry]:
    made = []
    for _ in range(count):
        with store.begin_write() as view:
            changes = Changes()
            entry = add_entry(
                changes, view, 1, to=4915100000000, sender="1", text="hello", purpose=Purpose.SERVICE, now_ms=at_ms,
                expiry_ms=at_ms + HOUR,
            )  # fmt: skip
            made.append(entry)
            view.apply(changes)
    return made


def sweep(store: Store, now_ms: int) -> int:
    """Slices that it took."""
    at, slices = (0, 0), 0
    while at is not None:
        with store.begin_write() as view:
            changes, at = drop_old_answers(view, DAY, now_ms, at)
            view.apply(changes)
        slices += 1
    return slices


def positions(store: Store) -> list[int]:
    with store.snapshot() as view:
        return [entry.position for entry in entries(view, batch_of(1))]


def feeder_with(store: Store, *states: tuple[int, int]) -> Feeder:
    """One whose batch has these positions in the ledger, as (position, kind of the record after its claim)."""
    feeder = new_feeder()
    with store.begin_write() as view:
        for entry in entries(view, batch_of(1)):
            if entry.position in dict(states):
                feeder.replies.add(entry)
        feeder.replies.fill(view, channel(feeder), 0, 0)
        for position, kind in states:
            feeder.log(batch_of(1), kind, 0, 1, position)
        commit(view, feeder)
    return feeder


def channel(feeder: Feeder) -> Channel:
    return feeder.channels[0]


def commit(view, feeder: Feeder) -> None:
    value, _ = channel(feeder).book.cut()
    view.txn.put(U64.pack(ledger.next_position(view)), bytes(value), db=view.tables["outcome_log"], append=True)
    channel(feeder).book.committed()
    ledger.fold(view)


def test_old_answers_are_dropped_and_the_numbering_goes_on(store: Store):
    write(store, 5, at_ms=0)
    assert sweep(store, now_ms=DAY - 1) == 1 and positions(store) == [0, 1, 2, 3, 4]
    sweep(store, now_ms=DAY)
    assert positions(store) == [4], "the last stays: the next is numbered from it"
    assert write(store, 1, at_ms=DAY)[0].position == 5
    sweep(store, now_ms=DAY + HOUR)
    assert positions(store) == [5]


def test_an_answer_that_may_still_move_is_kept_until_it_has_ended(store: Store):
    write(store, 4, at_ms=0)
    feeder = feeder_with(store, (0, Kind.ACCEPTED), (1, Kind.UNCERTAIN), (2, Kind.RETRY))
    sweep(store, now_ms=2 * DAY)
    assert positions(store) == [1, 2, 3]
    with store.begin_write() as view:
        assert settle_answers_by_time(view, feeder, HOUR + DAY - 1, wait_s=86_400) == 0
        assert settle_answers_by_time(view, feeder, HOUR + DAY, wait_s=86_400) == 1
        commit(view, feeder)
        assert ledger.state_of(view, batch_of(1), 1, 0) == State.UNKNOWN
    sweep(store, now_ms=2 * DAY)
    assert positions(store) == [2, 3]


def test_a_long_outbox_is_swept_in_slices(store: Store):
    with store.begin_write() as view:
        changes = Changes()
        (first,) = [
            add_entry(changes, view, 1, to=1, sender="1", text="", purpose=Purpose.SERVICE, now_ms=0, expiry_ms=1)
        ]
        row = changes.rows.popitem()[1] if isinstance(changes.rows, dict) else None
        assert first.position == 0
        for position in range(2 * ENTRIES_AT_ONCE + 5):
            view.txn.put(U64.pack(batch_of(1)) + position.to_bytes(4, "big"), row, db=view.tables["outbox"])
    assert sweep(store, now_ms=2 * DAY) == 3
    assert positions(store) == [2 * ENTRIES_AT_ONCE + 4]


def test_an_answer_refused_until_it_is_too_late_has_failed(store: Store):
    (entry,) = write(store, 1, at_ms=0)
    feeder = feeder_with(store, (0, Kind.RETRY))
    feeder.replies.send_again(entry.batch, 0, 1, 1, 0)
    with store.begin_write() as view:
        assert feeder.replies.fill(view, channel(feeder), HOUR, 1) == 0 and channel(feeder).book.queued(REPLIES) == 1
        commit(view, feeder)
        assert ledger.state_of(view, entry.batch, 0, 0) == State.FAILED


async def a_month_later(house: House, campaign: int) -> None:
    """As if the campaign had begun a month before: housekeeping's minute."""

    def long_ago(view: View) -> tuple[Changes, None]:
        row = load(view, 1, campaign)
        assert row is not None
        row["started_ms"] -= 30 * DAY
        return save(1, campaign, row), None

    await house.dispatcher.works.do(long_ago)
    await _minute(house.dispatcher, house.life.imports)


@in_house(30, receipts=0.0)
async def test_what_time_ends_in_a_campaign_is_in_the_audit(house: House):
    campaign = await house.send("Hi", validity_s=60)
    await house.until(lambda: house.state(campaign) == "done")

    await a_month_later(house, campaign)
    await house.until(lambda: house.counts(campaign)["states"]["no_receipt"] == 30)
    with house.dispatcher.store.snapshot() as view:
        ((_, entry), *_), _ = audit.newest_first(view, command="campaign.swept")
    assert (entry["actor"], entry["parts"], entry["object"]) == (
        "dispatcher", {"no_receipt": 30}, public_id("cmp", campaign),
    )  # fmt: skip


@in_house(60, delay_ms=60_000)
async def test_what_is_uncertain_ends_by_time_in_a_campaign_without_receipts_too(house: House):
    campaign = await house.send("Hi", receipts=False, validity_s=60)
    await house.until(lambda: house.smsc.summary()["submits"] == 40)
    house.smsc.change(delay_ms=0)
    house.smsc.close_all("rst")
    await house.until(lambda: house.state(campaign) == "done")
    before = house.counts(campaign)["states"]
    assert before["uncertain"] == 40 and before["accepted"] == 20

    await a_month_later(house, campaign)
    await house.until(lambda: house.counts(campaign)["states"]["unknown"] == 40)
    assert house.counts(campaign)["states"]["accepted"] == 20, "final: no receipt was asked for"
