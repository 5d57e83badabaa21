"""Rendering: the kernel against its reference on generated blocks, the guards, the bounds, single messages."""

import random
import struct
import zlib
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.campaigns import render as rendering
from dispatcher.campaigns.render import (
    Longest,
    PartCounts,
    Renderer,
    clear_through,
    render_single,
    render_singles,
    skip_rows,
    spared,
)
from dispatcher.campaigns.template import Template
from dispatcher.records.batch import Batch, Row, octets_of, read_rows
from dispatcher.records.changes import Changes
from dispatcher.records.states import Decision, Purpose
from dispatcher.store import open_store
from dispatcher.store.blocks import FLAGS, NUMBER, UNKNOWN, Column, ColumnKind, text_array, write_block
from dispatcher.store.columns import BlockView, open_block
from dispatcher.store.delta import plane_entry, put_delta
from dispatcher.text.coding import ALPHABETS, LONG_AS, Coding
from dispatcher.text.decode import decode
from dispatcher.text.parts import parts
from tests.campaigns.test_template import FIELDS
from tests.reference import coupons
from tests.reference import render as reference
from tests.reference.coding import split as cut

SLOTS = 192
FIRST = 16_320  # member_no of the block's first slot
TEXTS = [
    b"Ann", "Zoë".encode(), "Łukasz".encode(), "李雷".encode(), "a😀b".encode(), b"a\x1b\x00b", "[€^]".encode() * 9,
    b"", b"", b"\xff\xfe", b"abc\xe2\x82", b"\xc0\x80", b"\xed\xa0\x80x", b"\xf4\x90\x80\x80", b"x" * 90,
    b"x" * 200 + b"\xff", "日".encode() * 40, "Ω".encode() * 153, ("y" * 152 + "€" + "y" * 152).encode(),
    "çş“’…".encode(), "www.x.example/’".encode(), "🇩🇪".encode() * 40, ("e\u0301" * 90).encode(), "न\u093f".encode() * 50,
]  # fmt: skip
NUMBERS = {
    ColumnKind.U8: [0, 1, 2, 3, 255],
    ColumnKind.U16: [0, 1, 33, 2 * 32 + 29, 12 * 32 + 31, 13 * 32 + 1, 32, 65_535],
    ColumnKind.I32: [-(2**31), 0, 7, -7, 19_782, -719_162, -719_163, 2_932_896, 2_932_897, 2**31 - 1, -25_509],
    ColumnKind.I64: [-(2**63), 0, 9, -9, 4_999, 5_000, -5_000, -4_999, 1_234_567, 2**63 - 1, 1 - 2**63],
    ColumnKind.U64: [0, 491701234567, 1, 2**64 - 1, 8613800138000],
}


class China(NamedTuple):
    first: int = 70
    more: int = 67


def block_of(columns: list[Column], seed: int, texts: list[bytes] = TEXTS, slots: int = SLOTS) -> BlockView:
    """Values drawn from the pools above; most members live and reachable."""
    draw = random.Random(seed)
    arrays = {}
    for field, part, kind in columns:
        if (field, part, kind) == FLAGS:
            live = bytes(draw.choice((0xFF, 0xFF, 0xBD)) for _ in range(slots // 8))
            rest = [bytes(draw.choice((0, 0, 0, 1 << draw.randrange(8))) for _ in range(slots // 8)) for _ in range(7)]
            arrays[field, part] = memoryview(live + b"".join(rest))
        elif kind == ColumnKind.TEXT:
            chosen = [draw.choice(texts) for _ in range(slots)]
            array = memoryview(text_array(chosen, slots))
            offsets = 4 * slots
            arrays[field, part] = array[:offsets], array[4 : offsets + 4], array[offsets + 4 :]
        else:
            values = [draw.choice(NUMBERS[kind]) for _ in range(slots)]
            arrays[field, part] = memoryview(b"".join(NUMBER[kind].pack(value) for value in values))
    return BlockView(slots, arrays)


def bitmap(slots: set[int], octets: int = SLOTS // 8) -> bytearray:
    words = bytearray(octets)
    for slot in slots:
        words[slot // 8] |= 1 << slot % 8
    return words


def all_batches(renderer, block, todo, audience, rank_base, max_rows, ref_seed) -> list[Batch]:
    left, found = bitmap(todo), []
    while (batch := renderer.render(block, FIRST, left, bitmap(audience), rank_base, max_rows, ref_seed)).count:
        found.append(batch)
        clear_through(left, batch.last_slot)
    assert (batch.last_slot, batch.members, len(batch.rows), len(batch.octets)) == (-1, 0, 0, 0)
    return found


LITERALS = st.text(st.sampled_from("ab {}€[日😀é\n"), max_size=60) | st.just("long enough to leap over: " * 4)
REFERENCES = st.sampled_from(
    [f"{{{name}}}" for name in FIELDS if name != "likes"]
    + [f"‘https://x.example/{{{name}}}’" for name in FIELDS if name != "likes"]
    + [
        "{coupon}",
        "‘https://x.example/{coupon}’",
        "{name|friend:12}",
        "{name|}",
        "{city|日:3}",
        "{points|0}",
        "{joined|soon}",
        "{phone|-}",
        "{birthday|€}",
    ]
)
TEMPLATES = st.lists(
    LITERALS.map(lambda s: s.replace("{", "{{").replace("}", "}}")) | REFERENCES, min_size=1, max_size=6
)

CODINGS = st.just(Coding()) | st.builds(
    Coding,
    latin1=st.booleans(),
    ucs2=st.just(True) | st.booleans(),
    transliterate=st.booleans(),
    default_alphabet=st.sampled_from(ALPHABETS),
    single_shift=st.sampled_from([0, 1, 6]),
    locking_shift=st.sampled_from([0, 1, 6]),
    long_as=st.sampled_from(LONG_AS),
)
CLASSES = st.none() | st.integers(0, 3)
KEYS = st.none() | st.binary(min_size=16, max_size=16)


@settings(max_examples=200, deadline=None)
@given(
    text=TEMPLATES.map("".join).filter(bool),
    texts=st.lists(st.sampled_from(TEXTS) | st.binary(max_size=12) | st.text(max_size=80).map(str.encode), min_size=1),
    seed=st.integers(0, 2**32),
    purpose=st.sampled_from(Purpose),
    max_parts=st.sampled_from([1, 2, 3, 10]),
    max_rows=st.sampled_from([1, 2, 7, 1024]),
    rank_base=st.sampled_from([0, 250, 1_000_000]),
    how=st.tuples(CODINGS, CLASSES, st.booleans(), KEYS),
)
def test_compiled_and_reference_give_the_same_rows(text, texts, seed, purpose, max_parts, max_rows, rank_base, how):
    template, (coding, message_class, transliterate, key) = Template.compile(text, FIELDS, pool=True), how
    renderer = Renderer(
        template, purpose, max_parts, coding, message_class=message_class, transliterate=transliterate, coupon_key=key
    )
    block = block_of(renderer.columns, seed, texts)
    draw = random.Random(seed)
    audience = set(draw.sample(range(SLOTS), 150))
    todo = set(draw.sample(range(SLOTS), 150))
    wanted = list(
        reference.render(block, template, purpose, max_parts, FIRST, todo, audience, rank_base, seed & 0xFF, *how)
    )
    found = all_batches(renderer, block, todo, audience, rank_base, max_rows, seed & 0xFF)
    rows = [(row._replace(octets_at=0), octets_of(batch, row)) for batch in found for row in read_rows(batch)]
    assert rows == [row for member in wanted for row in member]
    assert sum(batch.members for batch in found) == len(wanted)
    for batch in found:
        assert batch.count <= max_rows or batch.members == 1
        assert sum(row.octets for row in read_rows(batch)) == len(batch.octets)
        assert read_rows(batch)[0].part == 0
        last = read_rows(batch)[-1]
        assert last.part + 1 == max(1, last.parts)


@settings(max_examples=60, deadline=None)
@given(
    text=TEMPLATES.map("".join).filter(bool),
    seed=st.integers(0, 2**32),
    max_parts=st.sampled_from([1, 2, 100]),
    coding=CODINGS,
)
def test_counting_gives_what_rendering_gives(text, seed, max_parts, coding):
    renderer = Renderer(
        Template.compile(text, FIELDS, pool=True), Purpose.MARKETING, max_parts, coding, billing=China()
    )
    block = block_of(renderer.columns, seed)
    everyone = set(range(SLOTS))
    counts = renderer.count_parts(block, FIRST, bitmap(everyone))
    firsts = [row for batch in all_batches(renderer, block, everyone, everyone, 0, 64, 0) for row in read_rows(batch)]
    firsts = [row for row in firsts if row.part == 0]
    assert counts.decisions == {d: n for d in Decision if (n := sum(row.decision == d for row in firsts))}
    sent = [row for row in firsts if row.decision == Decision.SENT]
    assert counts.parts == {p: n for p in range(101) if (n := sum(row.parts == p for row in sent))}
    assert counts.ucs2 == sum(row.data_coding == 8 for row in sent)
    args = (block, renderer.template, Purpose.MARKETING, max_parts)
    said = [said for slot in range(SLOTS) if (said := reference.message(*args, slot, coding)) and said[0] == 1]
    units = [len(octets.octets) // 2 if octets.encoding == "UCS2" else len(text) for _, text, octets in said]
    assert counts.billed == Counter(1 if n <= 70 else -(-n // 67) for n in units)
    as_cut = Renderer(renderer.template, Purpose.MARKETING, max_parts, coding).count_parts(
        block, FIRST, bitmap(everyone)
    )
    assert as_cut.billed == Counter(len(cut(octets, coding)) for _, _, octets in said)
    assert counts.too_long == sum(row.decision == Decision.TEXT_GREW for row in firsts)
    of_longest = [len(octets.octets) for _, _, octets in said]
    assert {one.octets for one in counts.longest} <= set(of_longest)
    assert max((one.octets for one in counts.longest), default=0) <= max(of_longest, default=0)
    if coding.long_as != "payload":
        assert [one.parts for one in counts.longest] == sorted((row.parts for row in sent), reverse=True)[:5]
    for one in counts.longest:
        sample = renderer.sample(block, one.member_no - FIRST)
        assert sample.decision == Decision.SENT and sample.text is not None


def simple(text, texts, flags=None, phone=4917012345, purpose=Purpose.MARKETING, max_parts=3, **how):
    """A renderer and a block of 64 live members whose names are `texts` in turn."""
    renderer = Renderer(Template.compile(text, FIELDS), purpose, max_parts, **how)
    array = memoryview(text_array([texts[i % len(texts)] for i in range(64)], 64))
    arrays = {
        (1, 0): memoryview(flags or bytes([0xFF] * 8 + [0] * 56)),
        (2, 0): memoryview(struct.pack("<Q", phone) * 64),
        (16, 0): (array[:256], array[4:260], array[260:]),
        (3, 0): memoryview(NUMBER[ColumnKind.I64].pack(UNKNOWN[ColumnKind.I64]) * 64),
    }
    return renderer, BlockView(64, arrays)


ALL = b"\xff" * 8


def decisions(renderer, block):
    return [Decision(row.decision) for row in read_rows(renderer.render(block, 0, ALL, ALL, 0, 1_000))]


@pytest.mark.parametrize(
    ("plane", "purpose", "decision"),
    [
        (1, Purpose.TRANSACTIONAL, Decision.SUPPRESSED),
        (2, Purpose.MARKETING, Decision.OPTED_OUT),
        (3, Purpose.CARE, Decision.OPTED_OUT),
        (4, Purpose.SERVICE, Decision.OPTED_OUT),
        (2, Purpose.CARE, Decision.SENT),
        (2, Purpose.OTP, Decision.SENT),
        (4, Purpose.TRANSACTIONAL, Decision.SENT),
    ],
)
def test_each_plane_stops_the_purposes_it_is_for(plane, purpose, decision):
    flags = bytearray([0xFF] * 8 + [0] * 56)
    flags[8 * plane] = 0b10
    renderer, block = simple("hi", [b""], bytes(flags), purpose=purpose)
    assert decisions(renderer, block)[1] == decision
    assert set(decisions(renderer, block)) == {decision, Decision.SENT}


def test_the_guards_come_in_their_order():
    every_plane = bytes([0xFF] * 64)
    assert set(decisions(*simple("{name}", [b""], bytes(64), phone=0))) == {Decision.ERASED}
    assert set(decisions(*simple("{name}", [b""], every_plane, phone=0))) == {Decision.NO_VALID_NUMBER}
    assert set(decisions(*simple("{name}", [b""], every_plane))) == {Decision.SUPPRESSED}
    assert set(decisions(*simple("x" * 161 + "{name}", [b""], max_parts=1))) == {Decision.NO_VALUE}
    assert set(decisions(*simple("x" * 161 + "{name}", [b"a"], max_parts=1))) == {Decision.TEXT_GREW}


def test_a_slot_past_the_block_is_erased():
    renderer, block = simple("hi", [b""])
    todo = bytes(8) + ALL
    assert {row.decision for row in read_rows(renderer.render(block, 0, todo, todo, 0, 100))} == {Decision.ERASED}


def test_a_name_that_is_no_utf8_takes_the_fallback_or_excludes():
    assert decisions(*simple("{name}", [b"\xff"]))[0] == Decision.NO_VALUE
    renderer, block = simple("{name|friend}", [b"\xff"])
    assert renderer.sample(block, 3).text == "friend"


def test_one_member_may_pass_max_rows_but_is_never_cut():
    renderer, block = simple("x" * 400, [b""])
    batch = renderer.render(block, 0, ALL, ALL, 0, 2)
    assert (batch.count, batch.members, batch.last_slot) == (3, 1, 0)
    batch = renderer.render(block, 0, ALL, ALL, 0, 8)
    assert (batch.count, batch.members, batch.last_slot) == (6, 2, 1)


def test_a_message_of_100_parts_is_rendered_and_101_grew():
    renderer, block = simple("{name}", [b"x" * 15_300], max_parts=100)
    batch = renderer.render(block, 0, ALL, ALL, 200, 1, ref_seed=100)
    rows = read_rows(batch)
    assert [row.part for row in rows] == list(range(100)) and {row.parts for row in rows} == {100}
    assert {octets_of(batch, row)[3] for row in rows} == {(200 + 100) % 256}
    assert {row.text_hash for row in rows} == {zlib.crc32(b"x" * 15_300)}
    assert decisions(*simple("{name}", [b"x" * 15_301], max_parts=100))[0] == Decision.TEXT_GREW


def test_a_payload_is_one_row_and_a_batch_of_them_is_bounded_in_octets():
    renderer, block = simple("{name}", [b"x" * 1_530], max_parts=10, coding=Coding(long_as="payload"))
    batch = renderer.render(block, 0, ALL, ALL, 0, 20)
    rows = read_rows(batch)
    assert {(row.parts, row.part, row.told, row.octets, row.esm_class) for row in rows} == {(1, 0, 2, 1_530, 0)}
    assert batch.count == 2 and len(batch.octets) <= 20 * 160
    counts = renderer.count_parts(block, 0, ALL)
    assert (counts.parts, counts.billed) == ({1: 64}, {10: 64})
    assert decisions(*simple("{name}", [b"x" * 1_531], max_parts=10, coding=Coding(long_as="payload")))[0] == 29


def test_sar_rows_carry_one_reference_of_eight_bits():
    renderer, block = simple("x" * 300, [b""], coding=Coding(long_as="sar"))
    batch = renderer.render(block, 0, ALL, ALL, 300, 2)
    rows = read_rows(batch)
    assert [(row.told, row.ref, row.esm_class, row.part, row.parts) for row in rows] == [
        (1, 44, 0, 0, 2),
        (1, 44, 0, 1, 2),
    ]
    wide, block = simple("x" * 300, [b""], coding=Coding(long_as="udh16"))
    batch = wide.render(block, 0, ALL, ALL, 300, 2, ref_seed=2)
    assert octets_of(batch, read_rows(batch)[0])[:7] == bytes((6, 8, 4)) + (300 + 0x202).to_bytes(2) + bytes((2, 1))


def test_look_alikes_spare_ucs2_and_what_they_change_is_told():
    names = ["Zoë’s".encode(), "日’".encode(), "www.x.example/’".encode(), b"Ann"]
    how = {"transliterate": True, "max_parts": 1}
    renderer, block = simple("Café – {name}", names, **how)
    assert [renderer.sample(block, slot).text for slot in range(4)] == [
        "Café - Zoe's",
        "Café – 日’",
        "Café – www.x.example/’",
        "Café - Ann",
    ]
    counts = renderer.count_parts(block, 0, ALL)
    assert counts.changed == {"–": "-", "’": "'", "ë": "e"} and counts.ucs2 == 32
    before, _ = simple("Café – {name}", names, max_parts=1)
    assert spared(before.count_parts(block, 0, ALL), counts) == {
        "changed": {"–": "-", "’": "'", "ë": "e"}, "recipients": 32, "parts_before": 64, "parts_after": 64,
    }  # fmt: skip
    in_address, block = simple("Café – https://x.example/{name}", names, **how)
    assert in_address.sample(block, 0).encoding == "UCS2"
    assert in_address.sample(block, 3).text == "Café - https://x.example/Ann"
    untouched, block = simple("日 – {name}", names, **how)
    assert untouched.count_parts(block, 0, ALL).changed == {}
    assert untouched.sample(block, 0).text == "日 – Zoë’s"


@pytest.mark.parametrize(
    ("text", "coding", "message_class", "encoding", "data_coding"),
    [
        ("hi", Coding(), None, "GSM7", 0),
        ("hi", Coding(), 0, "GSM7", 0xF0),
        ("日", Coding(), 0, "UCS2", 0x18),
        ("ça", Coding(latin1=True), None, "LATIN1", 3),
        ("ça", Coding(latin1=True), 1, "UCS2", 0x19),
        ("@", Coding(default_alphabet="ascii"), None, "ASCII", 0),
        ("@ç", Coding(default_alphabet="latin1"), None, "LATIN1", 0),
        ("ş", Coding(single_shift=1), None, "GSM7", 0),
    ],
)
def test_a_campaign_is_rendered_as_the_endpoint_takes_texts(text, coding, message_class, encoding, data_coding):
    renderer, block = simple("{name}", [text.encode()], coding=coding, message_class=message_class)
    sample = renderer.sample(block, 0)
    assert (sample.text, sample.encoding, sample.data_coding) == (text, encoding, data_coding)


@given(
    skipped=st.sets(st.integers(0, SLOTS - 1)), audience=st.sets(st.integers(0, SLOTS - 1)), most=st.integers(1, 200)
)
def test_skipped_rows_are_those_of_the_bitmap_by_rank(skipped, audience, most):
    batch = skip_rows(bitmap(skipped), bitmap(audience), 1_000, FIRST, Decision.QUIET, most)
    ranks = {slot: 1_000 + at for at, slot in enumerate(sorted(audience))}
    wanted = sorted(skipped & audience)[:most]
    assert read_rows(batch) == [
        Row(0, ranks[slot], 0, 0, 0, 0, 0, 0, 0, Decision.QUIET, 0, FIRST + slot, 0) for slot in wanted
    ]
    assert (batch.count, batch.members, batch.last_slot) == (len(wanted), len(wanted), max(wanted, default=-1))


def test_skipping_asks_for_bitmaps_of_equal_length():
    for one, other in ((b"", b""), (ALL, ALL * 2), (b"\xff" * 7, b"\xff" * 7)):
        with pytest.raises(ValueError, match="octets"):
            skip_rows(one, other, 0, 0, Decision.QUIET, 10)


def test_buffers_that_are_too_short_or_uneven_are_refused():
    renderer, block = simple("{name}", [b"a"])
    for todo, audience in ((b"", b""), (ALL, ALL * 2), (b"\xff" * 7, b"\xff" * 7)):
        with pytest.raises(ValueError, match="octets"):
            renderer.render(block, 0, todo, audience, 0, 10)
    with pytest.raises(ValueError, match="0 rows"):
        renderer.render(block, 0, ALL, ALL, 0, 0)
    with pytest.raises(ValueError, match="todo"):
        renderer.count_parts(block, 0, b"1234567")
    for key in ((1, 0), (2, 0)):
        short = BlockView(64, {**block.arrays, key: memoryview(b"short")})
        with pytest.raises(ValueError, match="needed"):
            renderer.render(short, 0, ALL, ALL, 0, 10)
    starts, ends, _ = block.text(16)
    outside = BlockView(64, {**block.arrays, (16, 0): (starts, ends, memoryview(b""))})
    assert set(decisions(renderer, outside)) == {Decision.NO_VALUE}
    with pytest.raises(ValueError, match="max_parts"):
        Renderer(renderer.template, Purpose.CARE, 256)


def test_with_the_pools_key_each_member_has_his_own_code():
    template, key = Template.compile("{name}: {coupon}.", FIELDS, pool=True), bytes(range(16))
    _, block = simple("{name}", [b"Ann", "李雷".encode()])
    renderer = Renderer(template, Purpose.MARKETING, 1, coupon_key=key)
    batch = renderer.render(block, FIRST, ALL, ALL, 0, 1_000)
    texts = [decode(row.data_coding, octets_of(batch, row)) for row in read_rows(batch)]
    names = ["Ann", "李雷"] * 32
    assert texts == [f"{name}: {coupons.code_of(key, FIRST + slot)}." for slot, name in enumerate(names)]
    assert str(key) not in repr(renderer)
    with pytest.raises(ValueError, match="16 octets"):
        Renderer(template, Purpose.MARKETING, 1, coupon_key=b"")


def test_without_the_key_a_code_is_twelve_x():
    _, block = simple("{name}", [b"Ann"])
    renderer = Renderer(Template.compile("Code {coupon}", FIELDS, pool=True), Purpose.MARKETING, 1)
    assert renderer.sample(block, 3).text == "Code XXXXXXXXXXXX"


@settings(max_examples=60, deadline=None)
@given(
    text=st.tuples(TEMPLATES.map("".join), TEMPLATES.map("".join)).map("{coupon}".join),
    seed=st.integers(0, 2**32),
    max_parts=st.sampled_from([1, 2, 10]),
    coding=CODINGS,
    key=st.binary(min_size=16, max_size=16),
)
def test_what_is_counted_without_codes_is_what_leaves_with_them(text, seed, max_parts, coding, key):
    template, everyone = Template.compile(text, FIELDS, pool=True), set(range(SLOTS))
    counting = Renderer(template, Purpose.MARKETING, max_parts, coding)
    claiming = Renderer(template, Purpose.MARKETING, max_parts, coding, coupon_key=key)
    block = block_of(counting.columns, seed)
    counts = counting.count_parts(block, FIRST, bitmap(everyone))
    found = all_batches(claiming, block, everyone, everyone, 0, 64, 0)
    firsts = [row for batch in found for row in read_rows(batch) if row.part == 0]
    assert counts.decisions == Counter(Decision(row.decision) for row in firsts)
    sent = [row for row in firsts if row.decision == Decision.SENT]
    assert counts.parts == Counter(row.parts for row in sent)
    assert counts.ucs2 == sum(row.data_coding == 8 for row in sent)


def test_counts_of_blocks_add_up_and_keep_the_five_longest():
    total = PartCounts()
    for first in (0, 64, 128):
        renderer, block = simple("{name}", [b"a" * (160 + first), b"b", "日".encode()])
        total += renderer.count_parts(block, first, ALL)
    assert total.decisions == {Decision.SENT: 192}
    assert total.parts == {1: 192 - 2 * 22, 2: 2 * 22}
    assert total.ucs2 == 63
    assert total.longest[0] == Longest(128, 2, 288) and len(total.longest) == 5


@pytest.mark.parametrize("slot", [0, 1, 7, 8, 63, 64, 190, 191])
def test_clear_through_takes_out_what_a_batch_took(slot):
    todo = bytearray(b"\xff" * (SLOTS // 8))
    clear_through(todo, slot)
    assert todo == bitmap(set(range(slot + 1, SLOTS)))


@given(text=st.text(max_size=400), rank=st.integers(0, 2**32 - 300))
def test_a_single_message_is_the_same_rows_as_a_broadcast_makes(text, rank):
    batch = render_single(text, 4917012345, rank, ref_seed=3, slot=8)
    rows = read_rows(batch)
    wanted = parts(text, rank + 3)
    assert [octets_of(batch, row) for row in rows] == [part.octets for part in wanted]
    assert [(row.part, row.parts, row.rank, row.slot, row.destination, row.decision) for row in rows] == [
        (no, len(wanted), rank, 8, 4917012345, Decision.SENT) for no in range(len(wanted))
    ]
    body = b"".join(part.octets[6 if part.esm_class else 0 :] for part in wanted)
    assert {row.text_hash for row in rows} == {zlib.crc32(body)}
    assert (batch.count, batch.members, batch.last_slot) == (len(wanted), 1, 8)


def test_several_single_messages_share_one_batch():
    batch = render_singles([("one", 1, 0, 5), ("x" * 255 * 154, 2, 1, 6), ("zwei €", 3, 2, 7)])
    rows = read_rows(batch)
    assert [row.decision for row in rows] == [Decision.SENT, Decision.TEXT_GREW, Decision.SENT]
    assert (batch.count, batch.members, batch.last_slot) == (3, 3, 7)
    assert [decode(row.data_coding, octets_of(batch, row)) for row in rows] == ["one", "", "zwei €"]


def test_a_change_in_the_delta_is_in_the_text_of_the_next_block_opened(tmp_path):
    renderer = Renderer(Template.compile("{name|friend}: {points|0}", FIELDS), Purpose.MARKETING, 1)
    name, points = (16, 0, ColumnKind.TEXT), (3, 0, ColumnKind.I64)
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        changes = Changes()
        for column, array in (
            (FLAGS, b"\xff" * 128 + bytes(896)),
            (rendering.MSISDN, struct.pack("<Q", 4917012345) * 1_024),
            (name, text_array([b"Ann"] * 1_024, 1_024)),
        ):
            write_block(changes, 1, *column[:2], 0, column[2], 1_024, array)
        with store.snapshot() as view:
            put_delta(changes, view, 1, 5, {name: "Zoë".encode(), points: struct.pack("<q", 250)})
            put_delta(changes, view, 1, 6, {name: b""})
            put_delta(changes, view, 1, 7, {FLAGS: plane_entry({2: True})})
        store.apply(changes)
        with store.snapshot() as view:
            block = open_block(view, 1, 0, renderer.columns, next_no=1_024)
            assert [renderer.sample(block, slot).text for slot in (4, 5, 6, 7)] == [
                "Ann: 0",
                "Zoë: 250",
                "friend: 0",
                None,
            ]
            counts = renderer.count_parts(block, 0, b"\xff" * 128)
    assert counts.decisions == {Decision.SENT: 1_023, Decision.OPTED_OUT: 1}


def test_a_renderer_tells_its_text_and_what_it_reads():
    renderer = Renderer(Template.compile("{name} {phone}", FIELDS), Purpose.CARE, 2)
    assert renderer.columns == [FLAGS, rendering.MSISDN, (16, 0, ColumnKind.TEXT)]
    assert repr(renderer) == "<Renderer '{name} {phone}' care max_parts=2>"
