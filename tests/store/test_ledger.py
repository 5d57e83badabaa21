"""The fold: whatever a log says, in whatever slices it is folded, arrays and counters are what its meaning says."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.records.changes import Changes
from dispatcher.records.states import Decision, State
from dispatcher.smpp.pump import Kind
from dispatcher.store import ledger
from dispatcher.store._fold import Folder
from dispatcher.store.layout import BLOCK
from tests.reference.ledger import ReferenceLedger, fold_value
from tests.store.logs import Claim, Record, append, assert_same, fold_all, folded, value_of

RANKS = [0, 1, 2, 3, 63, BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 1, 3 * BLOCK]
CAMPAIGN = 5 << 40


def by_hand(store, *values, log_base: int = 0) -> ReferenceLedger:
    """Fold values of one campaign and compare with the reference."""
    models = defaultdict(ReferenceLedger)
    models[CAMPAIGN] = ReferenceLedger(log_base)
    for position, value in zip(append(store, *values), values, strict=True):
        fold_value(models, value, position)
    fold_all(store)
    assert_same(store, CAMPAIGN, models[CAMPAIGN])
    return models[CAMPAIGN]


# ---- against the reference


octet = st.sampled_from([1, 1, 1, 2, 3, 5, 128 + Decision.OPTED_OUT, 128 + Decision.TEXT_GREW])
claims = st.builds(
    Claim,
    campaign=st.integers(0, 1),
    first=st.sampled_from(RANKS),
    octets=st.lists(octet, min_size=1, max_size=5).map(tuple),
    again=st.sampled_from([0, 0, 0, 1, 2, 4, 6, 0xFFFF]),
    pool=st.just(0),
    claim_no=st.just(0),
    text_hash=st.integers(0, 1 << 31),
)
records = st.builds(
    Record,
    campaign=st.integers(0, 1),
    kind=st.sampled_from([k for k in range(2, 11) if k != Kind.HELD] + [Kind.ACCEPTED, Kind.RECEIPT, Kind.RECEIPT]),
    rank=st.sampled_from(RANKS[:9]),
    part=st.integers(0, 4),
    state=st.sampled_from([0, 1, 1, 4, 4, 5, 6, 7, 8, 9, 20]),
    status=st.sampled_from([0, 0, 1, 2, 3, 0x58, 0x0B, 1 << 24, (1 << 24) + 7, 2 << 24]),
    message_id=st.binary(max_size=20),
)
held = st.builds(
    lambda campaign, name: Record(campaign, Kind.HELD, 0, message_id=name), st.integers(0, 1), st.binary(max_size=9)
)
logs = st.lists(st.lists(claims | records | records | held, min_size=1, max_size=25), min_size=1, max_size=5)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs, budget=st.sampled_from([1, 100_000, 250_000, 700_000, 4 << 20]), data=st.data())
def test_any_log_folded_in_any_slices_is_what_the_reference_says(store, log, budget, data):
    first = folded(store).get("key", 0) * 2 + 2  # campaigns of this example alone
    models = {first + no: ReferenceLedger() for no in (0, 1)}
    values = [value_of([item._replace(campaign=first + item.campaign) for item in items]) for items in log]
    cut = data.draw(st.integers(0, len(values)))
    for some in (values[:cut], values[cut:]):
        for position, value in zip(append(store, *some), some, strict=True):
            fold_value(models, value, position)
        fold_all(store, budget)
        for campaign, model in models.items():
            assert_same(store, campaign, model)


# ---- by hand


def test_a_pass_goes_by_chunk_over_several_commits_and_every_one_of_them_adds_up(store):
    items = [Claim(CAMPAIGN, chunk * BLOCK, (1,) * 10) for chunk in range(6)]
    items += [Record(CAMPAIGN, Kind.ACCEPTED, chunk * BLOCK + 3, message_id=b"x") for chunk in reversed(range(6))]
    model = ReferenceLedger()
    value = value_of(items)
    (position,) = append(store, value)
    fold_value({CAMPAIGN: model}, value, position)
    done, sent, after = False, [], []
    while not done:
        with store.begin_write() as view:
            _, done = ledger.fold(view, budget=2 * 20 * BLOCK)
        with store.snapshot() as view:
            counts = ledger.read_counts(view, CAMPAIGN)
            assert ledger.pass_open(view) is not done
        assert counts.sent == sum(counts.state(state) for state in State) == 10 * counts.accepted
        sent.append(counts.sent)
        after.append(folded(store).get("after"))
    assert sent == [20, 40, 60]
    assert after == [[CAMPAIGN, 1], [CAMPAIGN, 3], None]
    assert folded(store) == {"key": position + 1, "at": 0}
    assert_same(store, CAMPAIGN, model)
    assert fold_all(store) == 1  # nothing twice
    assert_same(store, CAMPAIGN, model)


def test_what_is_logged_while_a_pass_is_open_belongs_to_the_next(store):
    model = ReferenceLedger()
    first = value_of([Claim(CAMPAIGN, chunk * BLOCK, (1,)) for chunk in range(3)])
    second = value_of([Record(CAMPAIGN, Kind.ACCEPTED, chunk * BLOCK, message_id=b"x") for chunk in range(4)])
    positions = append(store, first)
    with store.begin_write() as view:
        assert ledger.fold(view, budget=1) == (3, False)
    positions += append(store, second)
    for position, value in zip(positions, (first, second), strict=True):
        fold_value({CAMPAIGN: model}, value, position)
    for step in range(2):
        with store.begin_write() as view:
            assert ledger.fold(view, budget=1) == (3, False), step
    with store.snapshot() as view:
        assert ledger.read_counts(view, CAMPAIGN).accepted == 0
    fold_all(store, 1)
    assert_same(store, CAMPAIGN, model)


def test_a_pass_ends_where_it_was_to_even_when_a_later_step_would_take_less(store):
    """What its first chunks have already had is not folded into them again. Found by seed 100369 of tests/sim."""
    model = ReferenceLedger()
    claims = value_of([Claim(CAMPAIGN, BLOCK - 1, (1, 1))])
    values = (claims, value_of([Record(CAMPAIGN, Kind.RETRY, BLOCK - 1 + at) for at in (0, 1)]), claims)
    for position, value in zip(append(store, *values), values, strict=True):
        fold_value({CAMPAIGN: model}, value, position)
    records, done = 1 << 20, False
    while not done:
        with store.begin_write() as view:
            _, done = ledger.fold(view, budget=1, records=records)
        records = 1
    assert_same(store, CAMPAIGN, model)


def test_a_pass_takes_no_more_of_the_log_than_it_may_read_again(store):
    values = [
        value_of([Claim(CAMPAIGN, 10 * no, (1,) * 10), Record(CAMPAIGN, Kind.ACCEPTED, 10 * no)]) for no in range(9)
    ]
    append(store, *values)
    found = []
    while not found or not found[-1][1]:
        with store.begin_write() as view:
            found.append(ledger.fold(view, records=6))
    assert found == [(6, False), (6, False), (6, True)]


def test_receipts_in_any_order_over_a_thousand_chunks_are_folded_in_as_many_commits_as_the_images_need(store):
    chunks = 1_000
    claims = [Claim(CAMPAIGN, chunk * BLOCK, (1,)) for chunk in range(chunks)]
    receipts = [
        Record(CAMPAIGN, Kind.RECEIPT, (7 * no % chunks) * BLOCK, state=State.DELIVERED) for no in range(3 * chunks)
    ]
    append(store, value_of(claims), value_of(receipts))
    with store.begin_write() as view:
        assert ledger.fold(view, budget=1 << 40) == (4 * chunks, True)
    append(store, value_of(receipts))
    assert fold_all(store, budget=100 * 7 * BLOCK) <= chunks / 100 + 1
    with store.snapshot() as view:
        counts = ledger.read_counts(view, CAMPAIGN)
    assert (counts.state(State.DELIVERED), counts.receipts) == (chunks, 6 * chunks)


@pytest.mark.parametrize("budget", [1, 1_000, 200_000])
def test_one_chunk_that_is_more_than_the_budget_is_folded_all_the_same(store, budget):
    value = value_of([Claim(CAMPAIGN, BLOCK - 2, (9, 9, 9, 9)), Claim(CAMPAIGN, 5 * BLOCK - 1, (127, 1))])
    (position,) = append(store, value)
    model = ReferenceLedger()
    fold_value({CAMPAIGN: model}, value, position)
    assert fold_all(store, budget) == 4
    assert_same(store, CAMPAIGN, model)


def test_arrays_grow_in_ranks_and_in_parts_and_keep_what_they_had(store):
    model = by_hand(
        store,
        value_of([Claim(CAMPAIGN, 0, (2,)), Record(CAMPAIGN, Kind.ACCEPTED, 0, 1, message_id=b"a")]),
        value_of([Claim(CAMPAIGN, 1023, (1, 1))]),
        value_of([Claim(CAMPAIGN, 5, (40,)), Record(CAMPAIGN, Kind.ACCEPTED, 0, 0, message_id=b"b")]),
        value_of([Claim(CAMPAIGN, BLOCK - 1, (3, 3)), Record(CAMPAIGN, Kind.UNCERTAIN, BLOCK, 2)]),
    )
    assert model.accepted == 1
    with store.snapshot() as view:
        assert [ledger.part_width(view, CAMPAIGN, chunk) for chunk in (0, 1, 2)] == [40, 3, 1]
        assert len(ledger.read_array(view, CAMPAIGN, "state", 0)) == BLOCK
        assert len(ledger.read_array(view, CAMPAIGN, "state", 1)) == 1_024
        assert ledger.read_array(view, CAMPAIGN, "final_s", 0) is None


def test_a_states_part_goes_on_and_never_back(store):
    events = [
        Record(CAMPAIGN, Kind.RECEIPT, 0, state=State.EXPIRED, status=9), Record(CAMPAIGN, Kind.ACCEPTED, 0),
        Record(CAMPAIGN, Kind.UNCERTAIN, 0), Record(CAMPAIGN, Kind.RETRY, 0, status=0x58), Record(CAMPAIGN, Kind.RELEASED, 0),
        Record(CAMPAIGN, Kind.RECEIPT, 0, state=State.FAILED), Record(CAMPAIGN, Kind.RECEIPT, 0, state=State.UNKNOWN),
        Record(CAMPAIGN, Kind.SETTLED, 0, state=State.NO_RECEIPT), Record(CAMPAIGN, Kind.REFUSED, 0, status=8),
    ]  # fmt: skip
    model = by_hand(store, value_of([Claim(CAMPAIGN, 0, (1,)), *events]))
    one = model.of_rank[0]
    assert (one.state, one.error, model.accepted, model.receipts, model.repeated) == (State.EXPIRED, 9, 1, 3, 2)
    fold = value_of([Record(CAMPAIGN, Kind.RECEIPT, 0, state=State.DELIVERED), *events, Claim(CAMPAIGN, 0, (1,))])
    models = {CAMPAIGN: model}
    for position in append(store, fold):
        fold_value(models, fold, position)
    fold_all(store)
    assert_same(store, CAMPAIGN, model)
    assert one.state == State.DELIVERED


def test_a_message_is_accepted_once_however_often_its_parts_are(store):
    model = by_hand(
        store,
        value_of([Claim(CAMPAIGN, 0, (1, 3))]),
        value_of([Record(CAMPAIGN, Kind.UNCERTAIN, 0), Claim(CAMPAIGN, 0, (1,))]),
        value_of([Record(CAMPAIGN, Kind.ACCEPTED, 0), Record(CAMPAIGN, Kind.ACCEPTED, 0)]),
        value_of([Record(CAMPAIGN, Kind.ACCEPTED, 1, part) for part in (0, 1, 1, 0, 2, 2)]),
    )
    assert (model.accepted, model.parts_accepted, model.resent) == (2, 4, 1)


def test_log_no_leads_to_the_first_parts_record(store):
    with store.begin_write() as view:
        changes = Changes()
        ledger.set_log_base(changes, CAMPAIGN, 7)
        view.apply(changes)
    filler = value_of([Claim(CAMPAIGN + 1, 0, (1,) * 50)])
    value = value_of(
        [
            Claim(CAMPAIGN, 0, (1, 2)),
            *(Record(CAMPAIGN, Kind.ACCEPTED, r, p, message_id=b"m%d%d" % (r, p)) for r, p in ((1, 1), (1, 0), (0, 0))),
        ]
    )
    model = by_hand(store, filler, value, log_base=7)
    with store.snapshot() as view:
        values = dict(ledger.log_values(view))
        for rank, expected in ((0, b"m00"), (1, b"m10")):
            position = model.of_rank[rank].log_no - 1 + 7
            begin = max(key for key in values if key <= position)
            at = 8 * (position - begin)
            assert bytes(values[begin][at + 16 : at + 19]) == expected


def test_a_skip_ends_what_never_left_and_fails_what_is_half_out(store):
    claimed = [Claim(CAMPAIGN, 0, (1, 1, 3, 3, 3))]
    refused = [
        Record(CAMPAIGN, Kind.RETRY, rank, part, status=0x14)
        for rank, part in ((0, 0), (2, 1), (3, 0), (3, 1), (3, 2), (4, 2))
    ]
    out = [Record(CAMPAIGN, Kind.ACCEPTED, 2, 0), Record(CAMPAIGN, Kind.ACCEPTED, 4, 0)]
    skips = [Claim(CAMPAIGN, 0, (128 + Decision.OPTED_OUT,) * 5)]
    model = by_hand(store, value_of(claimed + refused + out), value_of(skips))
    assert [model.of_rank[rank].decision for rank in range(5)] == [20, 1, 1, 20, 1]
    assert [model.of_rank[rank].state for rank in range(5)] == [
        State.UNSENT, State.CLAIMED, State.CLAIMED, State.UNSENT, State.CLAIMED,
    ]  # fmt: skip
    after = value_of([Record(CAMPAIGN, Kind.ACCEPTED, 2, 2), Record(CAMPAIGN, Kind.ACCEPTED, 4, 1)])
    models = {CAMPAIGN: model}
    for position in append(store, after):
        fold_value(models, after, position)
    fold_all(store)
    assert_same(store, CAMPAIGN, model)
    assert [model.of_rank[rank].state for rank in (2, 4)] == [State.FAILED, State.FAILED]


def test_a_resend_that_never_left_leaves_the_try_before_it_uncertain(store):
    model = by_hand(
        store,
        value_of(
            [Claim(CAMPAIGN, 0, (1, 1, 1)), *(Record(CAMPAIGN, Kind.UNCERTAIN, rank, state=2) for rank in range(2))]
        ),
        value_of([Claim(CAMPAIGN, 0, (1, 1))]),
        value_of([Record(CAMPAIGN, Kind.SKIPPED, 0, state=20, status=1), Record(CAMPAIGN, Kind.RELEASED, 1)]),
        value_of([Record(CAMPAIGN, Kind.SKIPPED, 2, state=20, status=1)]),
    )
    assert [(model.of_rank[rank].decision, model.of_rank[rank].state) for rank in range(3)] == [
        (1, State.UNCERTAIN), (1, State.UNCERTAIN), (20, State.UNSENT),
    ]  # fmt: skip


def test_tries_count_claims_that_used_an_attempt(store):
    again = [Claim(CAMPAIGN, 0, (1,))]
    model = by_hand(
        store,
        value_of([*again, Record(CAMPAIGN, Kind.RETRY, 0, state=1, status=0x58)]),
        value_of([*again, Record(CAMPAIGN, Kind.RETRY, 0, state=0, status=0x08)]),
        value_of([*again, Record(CAMPAIGN, Kind.RELEASED, 0)]),
        value_of([*again]),
    )
    assert model.of_rank[0].tries == 2


def test_a_damaged_value_is_refused_and_nothing_is_half_folded(store):
    good = value_of([Claim(CAMPAIGN, 0, (1,) * 4), Record(CAMPAIGN, Kind.ACCEPTED, 0)])
    for bad in (b"XX" + good[2:], good[:-9], good[:24] + b"\7\0\0\xff" + good[28:]):
        with pytest.raises(ValueError, match=r"outcome log|run number"):
            Folder().scan(bad, 0)
    append(store, good, good[:24] + bytes((Kind.ACCEPTED, 0, 0, 255)) + good[28:])
    with pytest.raises(ValueError, match="outcome log"), store.begin_write() as view:
        ledger.fold(view)
    assert folded(store) == {}
    with store.snapshot() as view:
        assert ledger.read_counts(view, CAMPAIGN).sent == 0


@settings(deadline=None, max_examples=200)
@given(damage=st.lists(st.tuples(st.integers(24, 300), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_inside_a_value_crashes_no_fold(damage):
    value = bytearray(
        value_of([Claim(1, 0, (1, 2, 3)), *(Record(1, kind, 1, 1, 4) for kind in range(2, 11) if kind != 8)])
    )
    for at, octet_ in damage:
        if at < len(value):
            value[at] = octet_
    folder = Folder()
    try:
        folder.scan(value, 0)
    except ValueError:
        return
    images = []
    for number, _, _, load, _, slots, width in folder.wanted():
        for array in range(9):
            if load >> array & 1:
                images.append(bytearray(slots * (4 if array in (2, 5, 6, 7, 8) else 1)))
                folder.attach(number, array, images[-1], slots, 1)
        if width > 1:
            images.append(bytearray(slots * width))
            folder.attach(number, 9, images[-1], slots, width)
    for campaign in folder.campaigns():
        images.append(bytearray(512))
        folder.attach_counts(campaign, images[-1], 0)
    folder.apply(value, 0, 0)


def test_a_damaged_claim_past_the_last_rank_is_passed_over(store):
    """Its ranks would begin at 0 again, where nothing was loaded for a claim. Found by fuzzing."""
    append(store, value_of([Claim(CAMPAIGN, 0xFFFFFFFE, (1,) * 4), Record(CAMPAIGN, Kind.RECEIPT, 1, state=4)]))
    with store.begin_write() as view:
        assert ledger.fold(view) == (2, True)
    with store.snapshot() as view:
        assert ledger.read_counts(view, CAMPAIGN).sent == 0


def test_summary_adds_up_at_any_moment(store):
    model = by_hand(
        store,
        value_of(
            [Claim(CAMPAIGN, 0, (1, 2, 1, 128 + Decision.ERASED)), Record(CAMPAIGN, Kind.REFUSED, 2, status=0x0B)]
        ),
    )
    assert model.parts_sent == 4
    with store.snapshot() as view:
        said = ledger.read_counts(view, CAMPAIGN).summary(10)
    assert said["unsent"] + sum(said["skipped"].values()) + said["sent"] == said["audience"] == 10
    assert sum(said["states"].values()) == said["sent"] == 3 and said["skipped"] == {"erased": 1}
