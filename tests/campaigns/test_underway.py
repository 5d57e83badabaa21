"""What looks for work by itself, or in a hurry, reads no campaign that is over."""

import msgpack
import pytest

from dispatcher.apps.archive import ask_archive, drop_some, keep, next_asked, undropped, write
from dispatcher.campaigns.campaign import list_campaigns, load, save
from dispatcher.campaigns.due import due_before
from dispatcher.campaigns.life import cancel_campaign
from dispatcher.campaigns.money import Over, measure_over, next_over, settle
from dispatcher.campaigns.states import ACTIVE, OVER, SCHEDULED
from dispatcher.campaigns.stops import release_all, stop_all
from dispatcher.campaigns.underway import drop_over, note_all_under_way, over_now, under_way
from dispatcher.control.commands import ArchiveCampaign, CancelCampaign, ReleaseAll, StopAll
from dispatcher.records.changes import Changes
from dispatcher.records.states import CampaignState, State
from dispatcher.segments.runs import runs
from dispatcher.store import Store
from dispatcher.store.layout import TENANT_U64
from dispatcher.store.verify_ledger import what_runs_is_found
from tests.campaigns.log import ACCEPTED, RECEIPT, claim, log, log_begins, record
from tests.campaigns.test_campaign import at_state, moved, started
from tests.fakes.shop import NOW_MS, do, new_member, new_shop

DAY_MS = 86_400_000


@pytest.fixture
def store(store: Store) -> Store:
    """A shop of which a dispatcher knows what is under way."""
    new_shop(store)
    for i in range(3):
        new_member(store, 4915100000001 + i, name=f"Ann {i}")
    note_all_under_way(store)
    return store


def known(store: Store, *states: CampaignState, tenant: int = 0) -> set[int]:
    with store.snapshot() as view:
        return {campaign for _, campaign, _ in under_way(view, *states, tenant=tenant)}


def tidy(store: Store) -> None:
    """As housekeeping does."""
    with store.begin_write() as view:
        view.apply(drop_over(view, over_now(view))[0])


def spoil(store: Store, campaign: int) -> None:
    """Nobody can read its row any more."""
    changes = Changes()
    changes.put("campaigns", TENANT_U64.pack(1, campaign), b"\xc1")
    store.apply(changes)


def sent(store: Store) -> int:
    """A campaign to three members, one of whose receipts is awaited."""
    campaign = started(store)
    log_begins(store, campaign)
    log(store, campaign, NOW_MS, claim(0, [1] * 3))
    log(store, campaign, NOW_MS, *(record(ACCEPTED, rank, message_id=b"%d" % rank) for rank in range(3)))
    log(store, campaign, NOW_MS, *(record(RECEIPT, rank, state=State.DELIVERED) for rank in range(2)))
    moved(store, campaign, CampaignState.DONE)
    return campaign


def settled(store: Store, campaign: int) -> None:
    """Its money, and the last receipt."""
    log(store, campaign, NOW_MS, record(RECEIPT, 2, state=State.DELIVERED))
    with store.begin_write() as view:
        over = next_over(view)
        assert over is not None and over.campaign == campaign
        view.apply(settle(view, over, measure_over(view, over, NOW_MS), NOW_MS))


def ended(store: Store) -> int:
    """One that is over, of which nobody can read anything any more."""
    campaign = sent(store)
    settled(store, campaign)
    tidy(store)
    spoil(store, campaign)
    return campaign


def test_what_waits_for_its_time_or_is_sent_is_under_way_and_what_is_written_is_not(store):
    made = {state: at_state(store, state) for state in CampaignState}
    tidy(store)
    assert known(store) == {made[state] for state in (SCHEDULED, *ACTIVE)} == known(store, tenant=1)
    assert known(store, SCHEDULED) == {made[SCHEDULED]}
    assert known(store, tenant=2) == set()


def test_a_campaign_is_under_way_until_its_receipts_its_money_and_its_archive_are_settled(store):
    campaign = sent(store)
    tidy(store)
    assert known(store) == {campaign}, "a receipt is awaited"
    log(store, campaign, NOW_MS, record(RECEIPT, 2, state=State.DELIVERED))
    tidy(store)
    assert known(store) == {campaign}, "its money is reserved"
    settled(store, campaign)
    do(store, ask_archive, ArchiveCampaign(campaign=campaign))
    tidy(store)
    assert known(store) == {campaign}, "somebody asked for its archive"
    with store.snapshot() as view:
        assert next_asked(view) == (1, campaign)
    written = write(store.snapshot, store.folder, 1, campaign, NOW_MS)
    with store.begin_write() as view:
        view.apply(keep(view, 1, campaign, written, NOW_MS))
    tidy(store)
    with store.begin_write() as view:
        assert undropped(view) == [(1, campaign)], "its arrays are in the store"
        view.apply(drop_some(view, 1, campaign)[0])
    tidy(store)
    assert known(store) == set()


def test_what_came_between_the_look_and_the_commit_keeps_a_campaign_under_way(store):
    campaign = sent(store)
    settled(store, campaign)
    with store.snapshot() as view:
        over = over_now(view)
    assert over == [(1, campaign)]
    do(store, ask_archive, ArchiveCampaign(campaign=campaign))
    with store.begin_write() as view:
        view.apply(drop_over(view, over)[0])
    assert known(store) == {campaign}


def test_a_campaign_that_is_over_cannot_hold_up_what_is_due_a_stop_of_everything_or_a_settlement(store):
    ended(store)
    running = started(store)
    with store.snapshot() as view:
        assert due_before(view, NOW_MS)[0] == [] and next_asked(view) is None and next_over(view) is None
    assert do(store, stop_all, StopAll(), tenant=0)["paused"] == 1
    assert known(store, CampaignState.PAUSED) == {running}
    assert do(store, release_all, ReleaseAll(resume=True), tenant=0)["resumed"] == 1


def test_a_list_of_what_is_sent_reads_nothing_that_is_over(store):
    first, over, second = started(store), ended(store), started(store)
    with store.snapshot() as view:
        assert [campaign for campaign, _ in list_campaigns(view, 1, state="running")] == [second, first]
        assert [campaign for campaign, _ in list_campaigns(view, 1, second, 1, state="running")] == [first]
        assert list_campaigns(view, 1, state="paused") == list_campaigns(view, 2, state="running") == []
        with pytest.raises(msgpack.FormatError):
            list_campaigns(view, 1, state="done")
    assert second > over > first


def test_a_settlement_reads_its_own_reservation_alone(store):
    campaign = sent(store)
    log(store, campaign, NOW_MS, record(RECEIPT, 2, state=State.DELIVERED))
    with store.begin_write() as view:
        over = next_over(view)
        other = Over(1, campaign + 1, over.reserved_in)
        assert settle(view, other, {}, NOW_MS) == Changes(), "of which nothing is reserved"
        view.txn.put(b"\x00\x00", b"\xc1", db=view.tables["usage"])
        assert settle(view, over, measure_over(view, over, NOW_MS), NOW_MS)


def test_a_store_of_an_earlier_version_is_read_whole_until_a_start_has_noted_what_is_under_way(store):
    over, running = sent(store), started(store)
    settled(store, over)
    changes = Changes()
    for key in (b"", TENANT_U64.pack(1, over), TENANT_U64.pack(1, running)):
        changes.delete("meta", b"underway" + key)
    store.apply(changes)
    assert known(store) == {over, running} and known(store, *OVER) == {over}
    note_all_under_way(store)
    assert known(store) == {running}


def test_who_asks_what_was_sent_since_a_day_reads_no_campaign_that_ended_before(store):
    ended(store)
    again, running = sent(store), started(store)

    def found(since_ms: int, *, late: bool = False) -> list[int]:
        with store.snapshot() as view:
            return [run.campaign for run in runs(view, 1, None, since_ms, NOW_MS + DAY_MS, late=late)]

    with pytest.raises(msgpack.FormatError):
        found(NOW_MS)
    with store.begin_write() as view:
        row = load(view, 1, again)
        assert row is not None
        view.apply(save(1, again, row | {"finished_ms": NOW_MS + 60 * DAY_MS}))
    assert found(NOW_MS + 1) == [again, running]
    assert found(NOW_MS + 61 * DAY_MS) == [running]
    assert found(NOW_MS + 90 * DAY_MS, late=True) == [again, running], "its receipts may come so late"


@pytest.mark.parametrize("of", [SCHEDULED, CampaignState.PAUSED, CampaignState.CANCELLED])
def test_the_check_of_a_store_names_a_campaign_that_nobody_would_find(store, of):
    campaign = at_state(store, of)
    if of in OVER:
        campaign = started(store)
        do(store, cancel_campaign, CancelCampaign(campaign=campaign))
    with store.snapshot() as view:
        assert list(what_runs_is_found(view)) == []
    with store.begin_write() as view:
        for prefix in (b"underway\x00", b"ended\x00"):
            for key, _ in list(view.range("meta", prefix)):
                view.txn.delete(key, db=view.tables["meta"])
        problems = list(what_runs_is_found(view))
    assert [problem.place for problem in problems] == [f"campaign {campaign}"], problems
