"""Long values of the outcome log as several: nothing of them is lost, and a freed page finds a use at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.records.states import State
from dispatcher.smpp.pump import Kind
from dispatcher.store import Store, ledger, log_values, open_store
from dispatcher.store.layout import ARRAYS, LEDGER_KEY
from dispatcher.store.trail import Trail
from tests.reference import log_values as reference
from tests.reference.ledger import HEADER
from tests.store.logs import BASE_MS, Claim, Record, append, fold_all, value_of

PAGE = 4_096
CAMPAIGNS = (7, 9, 11, 1 << 63 | 1)
campaigns, ranks = st.sampled_from(CAMPAIGNS), st.integers(0, 1_000)
kinds = st.sampled_from([Kind.ACCEPTED, Kind.RECEIPT, Kind.HELD, Kind.RETRY])
items = st.one_of(
    st.tuples(campaigns, ranks, st.lists(st.integers(1, 200), min_size=1, max_size=40).map(tuple)).map(
        lambda of: Claim(*of)
    ),
    st.tuples(campaigns, kinds, ranks, st.binary(max_size=64)).map(lambda of: Record(*of[:3], message_id=of[3])),
)


@given(st.lists(items, min_size=1, max_size=60), st.integers(1, 3_000))
def test_a_value_is_cut_as_the_reference_cuts_it_and_no_record_is_lost(mine: list[Claim | Record], most: int):
    value = value_of(mine)
    found = [bytes(each) for each in log_values.split(value, most)]
    assert found == reference.split(value, most)
    assert [record for each in found for record in reference.records(each)] == reference.records(value)
    assert all(len(each) <= most or HEADER.unpack_from(each)[2] == 1 for each in found)


def test_a_value_that_is_short_enough_is_itself():
    value = value_of([Record(7, Kind.ACCEPTED, 0)])
    assert log_values.split(value, len(value))[0] is value


@pytest.mark.parametrize("octets", [b"", b"VO", bytes(100)])
def test_octets_that_are_no_value_are_refused(octets: bytes):
    assert log_values.split(octets, 4_096) == [octets]  # nothing to cut
    with pytest.raises(ValueError, match=r"no value of the outcome log|cut off"):
        log_values.split(octets.ljust(24, b"\0") + bytes(5_000), 4_096)


def test_a_record_that_is_cut_off_is_said_and_not_passed_over():
    value = bytearray(value_of([Claim(7, 0, (1,) * 2_000)] * 3))
    with pytest.raises(ValueError, match="octet"):
        log_values.split(HEADER.pack(0x564F, 0, 3, BASE_MS, 20_000) + value[24:20_024], 12_000)


def test_what_was_cut_folds_and_is_found_as_if_it_had_not_been(tmp_path: Path):
    many = 30_000
    value = value_of(
        [Claim(7, first, (1,) * 3_000) for first in range(0, many, 3_000)]
        + [Record(7, Kind.ACCEPTED, rank, message_id=f"{rank:016x}".encode()) for rank in range(many)]
    )
    looked_at = (0, 1, 16_320, many - 1)
    stories = []
    for name, whole in (("whole", True), ("cut", False)):
        with open_store(tmp_path / name, write=True, create=True) as store:
            if whole:
                append(store, value)
            else:
                with store.begin_write() as view:
                    assert log_values.append(view, ledger.next_position(view), value) == ledger.next_position(view)
            fold_all(store)
            with store.snapshot() as view:
                values = [bytes(one) for _, one in ledger.log_values(view)]
                assert (len(values) == 1) == whole
                assert whole or max(map(len, values)) <= log_values.OCTETS_MAX
                assert ledger.read_counts(view, 7).state(State.ACCEPTED) == many
                found = [Trail(view).of(7, rank, since_ms=BASE_MS, until_ms=None) for rank in looked_at]
                assert all(complete for _, complete in found)
                stories.append([[step[:6] for step in steps] for steps, _ in found])
    assert stories[0] == stories[1]
    assert all(len(steps) == 2 for steps in stories[0])


def test_pages_that_a_long_reader_held_back_are_used_again_before_the_file_grows(tmp_path: Path):
    array = bytes(4 * PAGE - 16)
    value = value_of([Claim(7, first, (1,) * 3_000) for first in range(0, 30_000, 3_000)])

    def commit(store: Store) -> None:
        with store.begin_write() as view:
            log_values.append(view, ledger.next_position(view), value)
            for number in (ARRAYS["state"][0], ARRAYS["parts"][0]):
                view.txn.put(LEDGER_KEY.pack(7, number, 0), array, db=view.tables["ledger"])

    with open_store(tmp_path, write=True, create=True) as store:
        commit(store)
        with store.snapshot():  # as a backup's
            for _ in range(200):
                commit(store)
        commit(store)
        full = store.size_octets()
        for _ in range(20):  # each takes eight pages, gives back as many, and takes 37 for the log
            commit(store)
        assert store.size_octets() == full
