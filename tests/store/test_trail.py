"""One message found in the log: the compiled look against the records as tuples, and the halving of time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.store import ledger, open_store
from dispatcher.store._trail import later_ids, of_kind
from dispatcher.store.trail import Trail, endpoints_of, trail
from tests.store.logs import BASE_MS, Claim, Record, append, value_of

ID_1, ID_2 = 7, 1 << 63 | 3

claims = st.builds(
    lambda campaign, first, octets, again: Claim(campaign, first, octets, again),
    st.sampled_from([ID_1, ID_2]),
    st.integers(0, 30),
    st.lists(st.sampled_from([1, 2, 128 + 20]), min_size=1, max_size=6).map(tuple),
    st.integers(0, 3),
)
record_ = st.builds(
    Record, st.sampled_from([ID_1, ID_2]), st.sampled_from([2, 3, 4, 5, 6, 7, 8, 9, 10]), st.integers(0, 30),
    st.integers(0, 2), st.integers(0, 9), st.integers(0, 1 << 31), st.binary(max_size=20),
)  # fmt: skip


def expected(value: bytes, campaign: int, rank: int) -> list[tuple]:
    found = []
    for one in ledger.records(value):
        if one[0] == "claim":
            _, of, _, first, _, octets, at_ms, again = one
            if of == campaign and first <= rank < first + len(octets):
                last = rank == first + len(octets) - 1
                found.append((1, again if last else 0, octets[rank - first], 0, b"", at_ms))
        elif one[0] != 8 and one[1] == campaign and one[2] == rank:
            kind, _, _, part, state, status, message_id, at_ms, _ = one
            found.append((kind, part, state, status, message_id, at_ms))
    return found


@settings(max_examples=150, deadline=None)
@given(items=st.lists(st.one_of(claims, record_), min_size=1, max_size=40), rank=st.integers(0, 33))
def test_the_compiled_look_finds_what_the_records_say(items, rank):
    value = value_of(items)
    for campaign in (ID_1, ID_2, 9):
        assert trail(value, campaign, rank) == expected(value, campaign, rank)


@settings(max_examples=150, deadline=None)
@given(items=st.lists(st.one_of(claims, record_), min_size=1, max_size=40))
def test_the_ids_of_later_parts_are_those_that_the_records_say(items):
    value = value_of(items)
    for campaign in (ID_1, ID_2, 9):
        wanted = [
            (one[2], one[3], one[6]) for one in ledger.records(value) if one[0] == 2 and one[1] == campaign and one[3]
        ]
        assert later_ids(value, campaign) == wanted


@given(octets=st.binary(max_size=23))
def test_octets_too_few_for_a_value_raise_only_ValueError(octets):
    for look in (lambda: trail(octets, ID_1, 0), lambda: of_kind(octets, 2), lambda: later_ids(octets, ID_1)):
        with pytest.raises(ValueError, match="outcome log"):
            look()


def test_a_message_is_found_between_two_instants_and_a_small_budget_says_so(store):
    values = [value_of([Claim(ID_1, 0, (1, 1))], BASE_MS)]
    values += [value_of([Record(ID_1, 4, 1, status=0x58)], BASE_MS + second * 1_000) for second in range(1, 60)]
    values.append(value_of([Record(ID_1, 2, 1, message_id=b"abc")], BASE_MS + 60_000))
    positions = append(store, *values)
    with store.snapshot() as view:
        look = Trail(view)
        assert [look.position_at(BASE_MS + at) for at in (-1, 0, 500, 30_000, 10**9)] == [
            positions[at] for at in (0, 0, 0, 29, 60)
        ]
        steps, complete = look.of(ID_1, 1, since_ms=BASE_MS, until_ms=None)
        assert (len(steps), complete, steps[-1].id) == (61, True, b"abc")
        middle, complete = look.of(ID_1, 1, since_ms=BASE_MS + 30_000, until_ms=BASE_MS + 31_000)
        assert complete
        assert {step.at_ms for step in middle} >= {BASE_MS + 30_000, BASE_MS + 31_000}
        assert len(middle) < 10
        short = Trail(view, 200)
        assert short.of(ID_1, 1, since_ms=BASE_MS, until_ms=None) == ([], False)
        assert [step.id for step in short.near(ID_1, 1, positions[-1])] == [b"abc"]
        assert short.left < 200


def test_an_empty_log_has_nothing(store):
    with store.snapshot() as view:
        assert Trail(view).of(ID_1, 0, since_ms=0, until_ms=None) == ([], True)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.one_of(claims, record_), min_size=1, max_size=8)), max_size=9
    )
)
def test_the_endpoint_of_a_message_is_that_of_its_newest_claim(tmp_path_factory, values):
    wanted = {(campaign, rank) for campaign in (ID_1, ID_2) for rank in range(0, 36, 3)}
    newest = {}
    with open_store(tmp_path_factory.mktemp("log"), write=True, create=True, sync=False) as store:
        for endpoint, items in values:
            value = bytearray(value_of(items))
            value[20:24] = endpoint.to_bytes(4, "little")
            append(store, bytes(value))
            for one in ledger.records(bytes(value)):
                if one[0] == "claim":
                    newest |= {(one[1], one[3] + at): endpoint for at in range(len(one[5]))}
        with store.snapshot() as view:
            assert endpoints_of(view, wanted, 1 << 20) == {one: at for one, at in newest.items() if one in wanted}
            assert endpoints_of(view, wanted, -1) == {}
