"""Texts the way an endpoint wants them: what is sent says the text again, and nothing is cut that belongs together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.text.alphabet import GSM7, clean
from dispatcher.text.coding import LONG_AS, TAG_MESSAGE_PAYLOAD, Coding, parts_as
from dispatcher.text.decode import decode, read_udh
from dispatcher.text.graphemes import graphemes
from dispatcher.text.parts import TextTooLong, parts
from dispatcher.text.transliterate import changes, transliterate

FAMILY = "👨‍👩‍👧‍👦"
FLAG, RAINBOW, WAVE = "🇩🇪", "🏳️‍🌈", "👋🏽"
HINDI = "नमस्ते"
PIECES = [
    "a",
    "é",
    "€",
    "日",
    "ş",
    "ç",
    "e\u0301",
    FAMILY,
    FLAG,
    RAINBOW,
    WAVE,
    "\r\n",
    "[",
    "กำ",
    "\u1112\u1161\u11ab",
    *HINDI,
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=260).map("".join),
    st.text(st.characters(exclude_categories=()), max_size=300),
    st.text(st.sampled_from(sorted(GSM7)), max_size=700),
)
CODINGS = st.builds(
    Coding,
    latin1=st.booleans(),
    default_alphabet=st.sampled_from(["gsm", "latin1"]),
    single_shift=st.sampled_from([0, 1, 2, 3, 6]),
    locking_shift=st.sampled_from([0, 1, 3, 6]),
    long_as=st.sampled_from(LONG_AS),
)


def said(found, coding):
    text = ""
    for part in found:
        octets = dict(part.tlvs).get(TAG_MESSAGE_PAYLOAD, part.octets)
        text += decode(part.data_coding, octets, part.esm_class == 0x40, coding.default_alphabet) or ""
    return text


@given(text=TEXTS, coding=CODINGS, ref=st.integers(0, 70_000))
def test_parts_joined_are_the_text_whatever_the_endpoint_wants(text, coding, ref):
    found = parts_as(text, coding, ref)
    assert said(found, coding) == clean(text)
    for part in found:
        assert part.udh_octets == (read_udh(part.octets)[1] if part.esm_class else 0)
        assert len(part.octets) <= (160 if part.data_coding == 0 and coding.default_alphabet == "gsm" else 140)


@given(text=TEXTS, ref=st.integers(0, 255))
def test_by_default_the_octets_are_the_kernels_where_no_grapheme_is_cut(text, ref):
    ours, theirs = parts_as(text, Coding(), ref), parts(text, ref)
    assert "".join(decode(p.data_coding, p.octets, p.esm_class == 0x40) or "" for p in theirs) == clean(text)
    if all(len(piece) == 1 for piece in graphemes(clean(text))):
        assert [(p.esm_class, p.data_coding, p.octets) for p in ours] == [
            (p.esm_class, p.data_coding, p.octets) for p in theirs
        ]


@given(text=TEXTS, coding=CODINGS)
def test_no_part_begins_or_ends_within_a_grapheme(text, coding):
    whole = graphemes(clean(text))
    if any(len(piece) > 30 for piece in whole):
        return
    ends = {0}
    for piece in whole:
        ends.add(max(ends) + len(piece))
    at = 0
    for part in parts_as(text, coding, 0):
        at += len(said([part], coding))
        assert at in ends


@pytest.mark.parametrize(
    "piece", [FAMILY, FLAG, RAINBOW, WAVE, "e\u0323\u0301", "กำ", "\r\n", "\u1112\u1161\u11ab", "한", "각\u11a8"]
)
def test_a_grapheme_is_one_piece(piece):
    assert graphemes(f"a{piece}b") == ["a", piece, "b"]


def test_flags_go_in_pairs():
    assert graphemes(FLAG * 3 + "🇩") == [FLAG, FLAG, FLAG, "🇩"]
    assert graphemes("\n\u0301a") == ["\n", "\u0301", "a"]


def test_a_grapheme_longer_than_a_part_is_cut_between_its_characters():
    zalgo = "e" + "\u0301" * 200
    found = parts_as(zalgo, Coding(), 0)
    assert len(found) == 3 and said(found, Coding()) == zalgo
    hindi = Coding(single_shift=6, locking_shift=6)
    endless = "न" + "\u0951\u093f" * 200  # pairs and septets in turn
    assert said(parts_as(endless, hindi, 0), hindi) == endless


@pytest.mark.parametrize(
    ("coding", "text", "octets"),
    [
        (Coding(), "a" * 160, [160]),
        (Coding(), "a" * 161, [153, 8]),
        (Coding(long_as="udh16"), "a" * 161, [152, 9]),
        (Coding(long_as="sar"), "a" * 161, [153, 8]),
        (Coding(), "日" * 71, [134, 8]),
        (Coding(long_as="udh16"), "日" * 71, [132, 10]),
        (Coding(latin1=True), "ç" * 140, [140]),
        (Coding(latin1=True), "ç" * 141, [134, 7]),
        (Coding(latin1=True, long_as="udh16"), "ç" * 141, [133, 8]),
        (Coding(locking_shift=1), "ş" * 155, [155]),
        (Coding(locking_shift=1), "ş" * 156, [149, 7]),
        (Coding(), "日" * 66 + FLAG + "日" * 10, [132, 28]),
        (Coding(), "a" * 152 + "€" * 10, [152, 20]),
    ],
)
def test_part_sizes_are_exact(coding, text, octets):
    found = parts_as(text, coding, 0)
    assert [len(part.octets) - part.udh_octets for part in found] == octets


def test_a_16_bit_reference_sar_and_payload_tell_the_parts_their_own_way():
    wide = parts_as("a" * 200, Coding(long_as="udh16"), 0x1234)
    assert [read_udh(part.octets)[0].reference for part in wide] == [0x1234, 0x1234]
    sar = parts_as("a" * 200, Coding(long_as="sar"), 0x1234)
    assert [part.esm_class for part in sar] == [0, 0]
    assert sar[1].tlvs == ((0x20C, b"\0\x34"), (0x20E, b"\x02"), (0x20F, b"\x02"))
    payload = parts_as("a" * 400, Coding(long_as="payload"), 1)
    assert len(payload) == 1 and payload[0].octets == b"" and payload[0].tlvs == ((0x424, b"a" * 400),)
    assert parts_as("a" * 160, Coding(long_as="payload"), 1)[0].tlvs == ()


@pytest.mark.parametrize(
    ("text", "message_class", "data_coding"),
    [("hi", 0, 0xF0), ("hi", 1, 0xF1), ("日", 0, 0x18), ("日", 3, 0x1B), ("ç", 0, 0x18), ("hi", None, 0)],
)
def test_a_message_class_is_in_the_data_coding(text, message_class, data_coding):
    found = parts_as(text, Coding(latin1=True), 0, message_class=message_class)
    assert found[0].data_coding == data_coding
    assert decode(data_coding, found[0].octets) == text


@pytest.mark.parametrize("long_as", LONG_AS)
def test_more_than_255_parts_are_refused(long_as):
    with pytest.raises(TextTooLong):
        parts_as("a" * (255 * 153 + 1), Coding(long_as=long_as), 0)


@pytest.mark.parametrize(
    "wrong", [{"default_alphabet": "x"}, {"long_as": "x"}, {"single_shift": 14}, {"locking_shift": 2}]
)
def test_a_coding_nobody_has_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Coding(**wrong)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("It’s “20 %” – off…", 'It\'s "20 %" - off...'),
        ("tab\tand\u00a0space\u200b", "tab and space"),
        ("Ñandú çok güzel, ağır", "Ñandu cok güzel, agir"),
        ("ΑΒΕ", "ABE"),
        ("e\u0301 \u2126 \u212b", "é Ω Å"),
        ("Łódź", "Lódz".replace("ó", "o")),
        ("日本 😀", "日本 😀"),
        ("see https://x.example/a–b?q=“1” now…", "see https://x.example/a–b?q=“1” now..."),
        ("code 0123456789", "code 0123456789"),
    ],
)
def test_look_alikes_become_gsm_and_addresses_stay(text, becomes):
    assert transliterate(text) == becomes


def test_changes_tell_what_becomes_what():
    assert [(c.character, c.becomes, c.count) for c in changes("a“b”“ ú https://x/“ \u200b日")] == [
        ("“", '"', 2), ("”", '"', 1), ("ú", "u", 1), ("\u200b", "", 1),
    ]  # fmt: skip


@given(text=st.text(max_size=200))
def test_transliterating_twice_changes_nothing_more(text):
    once = transliterate(text)
    assert transliterate(once) == once and changes(once) == []
