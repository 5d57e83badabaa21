"""The compiled ledger look-ups answer as the plain ones do."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.segments import _deeds as kernel
from tests.reference import deeds as reference

words = st.lists(
    st.one_of(st.just(0), st.just((1 << 64) - 1), st.integers(0, (1 << 64) - 1)), min_size=1, max_size=6
).map(lambda found: b"".join(word.to_bytes(8, "little") for word in found))
times = st.lists(st.integers(0, 9), max_size=400).map(lambda found: array("I", found).tobytes())
u32 = st.integers(0, 9)


@given(
    octets=st.binary(max_size=400), wanted=st.sets(st.integers(0, 255)), times=times, instead=times, low=u32, high=u32
)
def test_the_same_ranks_are_hit(octets, wanted, times, instead, low, high):
    table = bytes(octet in wanted for octet in range(256))
    out = bytearray(b"\xff" * 40)
    count = kernel.hits(octets, table, times, instead, low, high, out)
    expected = reference.hits(octets, table, times, instead, low, high, 8 * len(out))
    assert (reference.ones(out), count) == (expected, len(expected))


@given(audience=words, bits=st.binary(max_size=60), first=st.integers(0, 500), before=st.integers(0, 255))
def test_the_same_slots_are_set(audience, bits, first, before):
    out = bytearray([before]) * len(audience)
    kernel.deposit(audience, bits, first, out)
    had = reference.ones(bytes([before]) * len(audience))
    assert reference.ones(out) == sorted({*had, *reference.deposited(audience, bits, first)})


@given(audience=words, bits=st.binary(max_size=60), first=st.integers(0, 500), low=u32, high=st.integers(0, 70_000))
def test_the_same_messages_are_counted(audience, bits, first, low, high):
    counts = array("H", [(0xFFFF, 3, 0)[slot % 3] for slot in range(8 * len(audience))])
    expected = reference.tallied(audience, bits, first, counts)
    kernel.tally(audience, bits, first, counts)
    assert counts.tolist() == expected
    out = bytearray(len(audience))
    count = kernel.within(counts, low, high, out)
    assert reference.ones(out) == reference.within(expected, low, high)
    assert count == len(reference.ones(out))


@given(
    audience=words,
    decisions=st.lists(st.sampled_from([0, 1, 24]), max_size=400).map(bytes),
    submits=times,
    replies=st.lists(st.tuples(st.integers(0, 400), u32), max_size=30).map(sorted),
    before=u32,
    reach=u32,
)
def test_the_same_replies_are_claimed(audience, decisions, submits, replies, before, reach):
    claims = [(before, 7)] * len(replies)
    expected = reference.claim_replies(audience, decisions, submits, 1, replies, claims, 9, reach)
    slots, heard = (array("I", [pair[part] for pair in replies]) for part in (0, 1))
    best, whose = array("I", [before] * len(replies)), array("I", [7] * len(replies))
    kernel.claim_replies(audience, decisions, submits, 1, slots, heard, best, whose, 9, reach)
    assert list(zip(best, whose, strict=True)) == expected
