"""Long messages from phones: whole in whatever order, apart by sender and reference, bounded, as they are when late."""

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.members.consent import opted_out
from dispatcher.outcomes import reassembly
from dispatcher.outcomes.inbound import Recent, hear, overdue
from dispatcher.outcomes.reassembly import SETS_A_SOURCE, WAIT_MS
from dispatcher.records.events import Delivered
from dispatcher.text.coding import LONG_AS, Coding
from dispatcher.text.parts import parts_as
from tests.fakes.shop import NOW_MS
from tests.outcomes.inbox import inbox

NUMBER = "4915100000001"
LONG = "".join(f"{n:03d} words and more words; " for n in range(19))  # four parts


def parts(text=LONG, ref=7, *, long_as="udh8", number=NUMBER, to="SHOP"):
    return [
        Delivered(
            source_addr=number, destination_addr=to, octets=part.octets, data_coding=part.data_coding,
            esm_class=part.esm_class, tlvs=dict(part.tlvs),
        )
        for part in parts_as(text, Coding(long_as=long_as), ref)
    ]  # fmt: skip


def heard(store, message, at_ms=NOW_MS, recent=None, endpoint=0):
    with store.begin_write() as view:
        changes, what = hear(view, message, at_ms, Recent() if recent is None else recent, endpoint=endpoint)
        view.apply(changes)
    return what.what


def late(store, at_ms):
    """Everything overdue, a commit each; what it was."""
    found = []
    while True:
        with store.begin_write() as view:
            step = overdue(view, at_ms)
            if step is None:
                return found
            view.apply(step[0])
        found.append(step[1].what)


def nothing_waits(store):
    with store.snapshot() as view:
        return not view.count("mo_parts") and not view.count("mo_due")


@pytest.mark.parametrize("long_as", [how for how in LONG_AS if how != "payload"])
@pytest.mark.parametrize("ref", [0, 255])
def test_every_order_of_four_parts_gives_the_one_text(shop, long_as, ref):
    four = parts(ref=ref, long_as=long_as)
    assert len(four) == 4
    recent = Recent()
    for n, order in enumerate(itertools.permutations(range(4))):
        mine = parts(ref=ref, long_as=long_as, number=str(int(NUMBER) + n))
        assert [heard(shop, mine[part], recent=recent) for part in order] == ["part"] * 3 + ["inbox"]
    rows = inbox(shop)
    assert [row["text"] for row in rows] == [LONG] * 24
    assert {(row["parts"], tuple(row["missing"])) for row in rows} == {(4, ())}
    assert nothing_waits(shop)


@pytest.mark.parametrize("long_as", ["udh8", "udh16", "sar"])
def test_packed_parts_are_unpacked_each_behind_its_own_header(shop, long_as):
    text, packed = "€uro, @nd so on; " * 20, Coding(default_alphabet="gsm_packed", long_as=long_as)
    for part in reversed(parts_as(text, packed, 9)):
        said = Delivered(
            source_addr=NUMBER, destination_addr="SHOP", octets=part.octets, esm_class=part.esm_class,
            data_coding=part.data_coding, tlvs=dict(part.tlvs),
        )  # fmt: skip
        with shop.begin_write() as view:
            view.apply(hear(view, said, NOW_MS, Recent(), default_alphabet="gsm_packed")[0])
    assert [row["text"] for row in inbox(shop)] == [text]


def test_a_16_bit_reference_is_not_an_8_bit_one(shop):
    recent = Recent()
    one, other = parts("a" * 200, 0x0107, long_as="udh16"), parts("b" * 200, 7)
    for message in (one[0], other[1], one[1], other[0]):
        heard(shop, message, recent=recent)
    assert [row["text"] for row in inbox(shop)] == ["a" * 200, "b" * 200]


def test_two_phones_two_numbers_and_two_endpoints_with_one_reference_stay_apart(shop):
    recent = Recent()
    mine = [
        (parts("a" * 200, 7), 0), (parts("b" * 200, 7, number="4915100000002"), 0),
        (parts("c" * 200, 7, to="OTHER"), 0), (parts("d" * 200, 7), 1),
    ]  # fmt: skip
    for no in (1, 0):
        for message, endpoint in mine:
            heard(shop, message[no], recent=recent, endpoint=endpoint)
    assert sorted(row["text"] for row in inbox(shop)) == ["a" * 200, "b" * 200, "c" * 200, "d" * 200]


def test_parts_that_come_twice_count_once_even_a_day_later(shop):
    recent = Recent()
    two = parts("a" * 200)
    assert [heard(shop, m, NOW_MS + n, recent) for n, m in enumerate((two[0], two[0], two[1], two[1]))] == [
        "part", "repeat", "inbox", "repeat",
    ]  # fmt: skip
    assert heard(shop, two[0], NOW_MS + 23 * 3_600_000, recent) == "repeat"
    assert len(inbox(shop)) == 1 and nothing_waits(shop)


def test_a_restart_between_the_parts_changes_nothing(shop):
    four = parts()
    assert [heard(shop, message, recent=Recent()) for message in reversed(four)] == ["part"] * 3 + ["inbox"]
    assert inbox(shop)[0]["text"] == LONG


def test_what_is_missing_is_given_up_on_and_said_so(shop):
    four = parts()
    for no in (2, 0, 3):
        heard(shop, four[no])
    assert late(shop, NOW_MS + WAIT_MS - 1) == []
    assert late(shop, NOW_MS + WAIT_MS) == ["inbox"]
    (row,) = inbox(shop)
    assert row["text"] == LONG[:153] + LONG[306:] and row["missing"] == [2] and row["first_ms"] == NOW_MS
    assert nothing_waits(shop)
    assert heard(shop, four[1], NOW_MS + WAIT_MS + 1) == "part"  # by itself it is the beginning of another


def test_a_reference_used_anew_ends_the_old_message_and_begins_one(shop):
    old, new = parts("a" * 200), parts("b" * 200)
    recent = Recent()
    assert [heard(shop, m, NOW_MS + n, recent) for n, m in enumerate((old[0], new[0], new[1]))] == [
        "part", "part", "inbox",
    ]  # fmt: skip
    assert [(row["text"], row["missing"]) for row in inbox(shop)] == [("a" * 153, [2]), ("b" * 200, [])]


@pytest.mark.parametrize(
    "udh", ["050003070001", "050003070200", "050003070203", "0500030702", "ff0003070201", "0600030702010a"]
)
def test_a_place_that_cannot_be_is_no_place(shop, udh):
    message = Delivered(
        source_addr=NUMBER, destination_addr="SHOP", octets=bytes.fromhex(udh) + b"hello", esm_class=0x40
    )
    assert heard(shop, message) == "inbox"
    assert nothing_waits(shop)


@pytest.mark.parametrize("tlvs", [{0x20C: b"\0\1", 0x20E: b"\2"}, {0x20C: b"\0\1", 0x20E: b"\0", 0x20F: b"\1"}])
def test_sar_that_is_not_whole_is_no_place(shop, tlvs):
    message = Delivered(source_addr=NUMBER, destination_addr="SHOP", octets=b"hello", tlvs=tlvs)
    assert heard(shop, message) == "inbox"


def test_one_of_one_is_alone_and_a_payload_needs_no_parts(shop):
    alone = Delivered(
        source_addr=NUMBER, destination_addr="SHOP", octets=bytes.fromhex("050003070101") + b"hi", esm_class=0x40
    )
    assert heard(shop, alone) == "inbox"
    payload = Delivered(source_addr=NUMBER, destination_addr="SHOP", octets=b"x" * 900, tlvs={0x424: b"x" * 900})
    assert heard(shop, payload) == "inbox"
    assert [row["text"] for row in inbox(shop)] == ["hi", "x" * 900]


def test_a_character_cut_in_two_is_whole_again(shop):
    ucs2 = "日本😀 ok".encode("utf-16-be")
    gsm = b"price \x1b\x65 5"
    for ref, (octets, cut, data_coding) in enumerate([(ucs2, 6, 8), (gsm, 7, 0)]):
        for no, body in enumerate((octets[:cut], octets[cut:]), 1):
            udh = bytes((5, 0, 3, ref, 2, no))
            heard(shop, Delivered(
                source_addr=NUMBER, destination_addr="SHOP", octets=udh + body, esm_class=0x40, data_coding=data_coding,
            ))  # fmt: skip
    assert [row["text"] for row in inbox(shop)] == ["日本😀 ok", "price € 5"]


def test_parts_in_two_alphabets_are_read_each_in_its_own(shop):
    for no, (body, data_coding) in enumerate([(b"points: ", 0), ("日".encode("utf-16-be"), 8), (b"\xe9", 3)], 1):
        heard(shop, Delivered(
            source_addr=NUMBER, destination_addr="SHOP", octets=bytes((5, 0, 3, 1, 3, no)) + body, esm_class=0x40,
            data_coding=data_coding,
        ))  # fmt: skip
    assert inbox(shop)[0]["text"] == "points: 日é"


def test_a_part_that_opts_out_by_itself_does_so_at_once(shop):
    message = Delivered(
        source_addr=NUMBER, destination_addr="SHOP", octets=bytes.fromhex("050003070201") + b"STOP", esm_class=0x40
    )
    assert heard(shop, message) == "stop"
    with shop.snapshot() as view:
        assert opted_out(view, 1, int(NUMBER), "marketing")
    assert late(shop, NOW_MS + WAIT_MS) == ["stop"]


def test_a_long_message_that_begins_with_stop_opts_out_when_it_is_whole(shop):
    assert [heard(shop, message) for message in parts("Stop, please! " + "x" * 200)] == ["part", "stop"]


def test_a_sender_with_too_many_begun_gets_the_oldest_as_it_is(shop):
    recent = Recent()
    for ref in range(SETS_A_SOURCE + 3):
        heard(shop, parts(f"{ref:03d}" + "x" * 200, ref)[0], NOW_MS + ref, recent)
    assert [row["text"][:3] for row in inbox(shop)] == ["000", "001", "002"]
    with shop.snapshot() as view:
        assert view.count("mo_due") == SETS_A_SOURCE


def test_too_many_begun_in_all_end_the_oldest(shop, monkeypatch):
    monkeypatch.setattr(reassembly, "SETS_MAX", 50)
    recent = Recent()
    for n in range(200):
        heard(shop, parts("x" * 200, number=str(int(NUMBER) + n))[0], NOW_MS + n, recent)
    with shop.snapshot() as view:
        assert view.count("mo_due") <= 50
    assert len(inbox(shop)) >= 150  # nothing that was answered is gone
    assert all(row["missing"] == [2] for row in inbox(shop))


def test_a_failed_commit_leaves_no_trace_and_the_part_comes_again(shop):
    recent, two = Recent(), parts("a" * 200)
    heard(shop, two[0], recent=recent)
    with shop.snapshot() as view:
        assert hear(view, two[1], NOW_MS, recent)[1].what == "inbox"  # and is not committed
    from dispatcher.outcomes.inbound import seal_of

    recent.forget(seal_of(two[1]))
    assert heard(shop, two[1], recent=recent) == "inbox"
    assert len(inbox(shop)) == 1


TEXTS = st.text(st.sampled_from("ab €日😀ş\r\n"), min_size=150, max_size=900)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.tuples(TEXTS, st.sampled_from(["udh8", "udh16", "sar"])), min_size=1, max_size=4),
    seed=st.integers(),
)
def test_whatever_comes_in_whatever_order_and_twice_the_texts_are_right(shop, texts, seed):
    draw, recent = random.Random(seed), Recent()
    with shop.snapshot() as view:
        first = view.count("inbound")  # of the examples before, in this store
    numbers = [str(4_915_100_000_000 + first + n) for n in range(len(texts))]
    came = []
    for number, (text, long_as) in zip(numbers, texts, strict=True):
        came += parts(text, draw.randrange(256), long_as=long_as, number=number)
    came += draw.sample(came, len(came) // 2)
    draw.shuffle(came)
    for n, message in enumerate(came):
        heard(shop, message, NOW_MS + n, recent)
    rows = {row["from"]: row["text"] for row in inbox(shop)}
    assert {number: rows[number] for number in numbers} == dict(zip(numbers, (text for text, _ in texts), strict=True))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    octets=st.binary(max_size=40).map(lambda b: bytes((len(b) // 2,)) + b),
    tlvs=st.dictionaries(st.sampled_from([0x20C, 0x20E, 0x20F]), st.binary(max_size=3)),
)
def test_any_header_and_any_sar_is_kept_and_nothing_raised(shop, octets, tlvs):
    message = Delivered(source_addr=NUMBER, destination_addr="SHOP", octets=octets, esm_class=0x40, tlvs=tlvs)
    assert heard(shop, message) in ("part", "inbox", "repeat", "stop", "points", "help", "start")
