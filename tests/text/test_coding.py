"""Texts the way an endpoint wants them: what is sent says the text again, and nothing is cut that belongs together."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Endpoint
from config.endpoint import ALPHABETS as ALPHABETS_SET
from config.endpoint import LOCKING_SHIFTS, LONG_MESSAGES, SINGLE_SHIFTS
from dispatcher.text.alphabet import GSM7, clean
from dispatcher.text.coding import ALPHABETS, LONG_AS, Coding, NotSayable, coding_of, encoder
from dispatcher.text.decode import decode, read_udh
from dispatcher.text.graphemes import BREAKS, break_class, break_classes, graphemes
from dispatcher.text.national import LANGUAGES, LOCKING, SINGLE
from dispatcher.text.parts import TAG_MESSAGE_PAYLOAD, TextTooLong, parts, parts_as
from dispatcher.text.transliterate import changes, ends_in_address, look_alikes, replacement, transliterate
from tests.reference import coding as reference

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
    ucs2=st.just(True) | st.booleans(),
    transliterate=st.booleans(),
    default_alphabet=st.sampled_from(ALPHABETS),
    single_shift=st.sampled_from([0, 1, 2, 3, 6]),
    locking_shift=st.sampled_from([0, 1, 3, 6]),
    long_as=st.sampled_from(LONG_AS),
)


def without_cr(text):
    """One that ends a packed part where its last octet ends is read as filling."""
    return text.replace("\r", "")


def faithful(coding):
    """The same, taking and saying every text as it stands."""
    return replace(coding, ucs2=True, transliterate=False)


def said(found, coding):
    text = ""
    for part in found:
        octets = dict(part.tlvs).get(TAG_MESSAGE_PAYLOAD, part.octets)
        text += decode(part.data_coding, octets, part.esm_class == 0x40, coding.default_alphabet) or ""
    return text


CLASSES = st.none() | st.integers(0, 3)


@given(text=TEXTS, coding=CODINGS, message_class=CLASSES, transliterated=st.booleans(), ref=st.integers(0, 0xFFFF))
def test_compiled_and_reference_make_the_same_parts(text, coding, message_class, transliterated, ref):
    alikes = reference.alike(text) if transliterated or coding.transliterate else None
    said = reference.say(text, coding, message_class, alikes)
    by = encoder(coding, message_class, transliterated)
    if said is None:
        with pytest.raises(NotSayable) as refused:
            by.encode(text)
        assert set(refused.value.characters) <= set(alikes or "") | set(clean(text)) and refused.value.characters
        return
    which, octets = by.encode(text)
    assert (by.alphabets[which].encoding, octets) == (said.encoding, said.octets)
    found = parts_as(text, coding, ref, message_class=message_class, transliterate=transliterated)
    wanted = reference.made(said, coding, ref)
    assert [(p.esm_class, p.data_coding, dict(p.tlvs).get(TAG_MESSAGE_PAYLOAD, p.octets)) for p in found] == [
        made[:3] for made in wanted
    ]
    assert [dict(p.tlvs).get(0x20C, b"\0\0") for p in found] == [ref.to_bytes(2) for *_, ref in wanted]


@given(text=TEXTS.map(without_cr), coding=CODINGS.map(faithful), ref=st.integers(0, 70_000))
def test_parts_joined_are_the_text_whatever_the_endpoint_wants(text, coding, ref):
    found = parts_as(text, coding, ref)
    assert said(found, coding) == clean(text)
    for part in found:
        assert part.udh_octets == (read_udh(part.octets)[1] if part.esm_class else 0)
        assert len(part.octets) <= (
            160 if part.data_coding == 0 and coding.default_alphabet in ("gsm", "ascii") else 140
        )


@given(text=TEXTS, ref=st.integers(0, 255))
def test_by_default_parts_are_those_of_most_endpoints(text, ref):
    assert parts_as(text, Coding(), ref) == parts(text, ref)


@given(text=TEXTS.map(without_cr), coding=CODINGS.map(faithful))
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


def test_flags_go_in_pairs_and_nothing_joins_a_line_break():
    assert graphemes(FLAG * 3 + "🇩") == [FLAG, FLAG, FLAG, "🇩"]
    assert graphemes("🇩\u0301" + FLAG) == ["🇩\u0301", FLAG]
    assert graphemes("\n\u0301a") == ["\n", "\u0301", "a"]
    assert graphemes("\r\n\u0301a") == ["\r\n", "\u0301", "a"]


def test_every_mark_and_symbol_has_its_class_in_the_kernels_table():
    import unicodedata

    for code in range(BREAKS):
        character = chr(code)
        if unicodedata.category(character) in ("Mn", "Me", "Mc"):
            assert break_class(character) == 1, hex(code)
        if unicodedata.category(character) == "So":
            assert break_class(character) in (3, 4), hex(code)
    assert len(break_classes()) == BREAKS


def test_a_grapheme_longer_than_a_part_begins_one_and_is_cut_between_its_characters():
    zalgo = "e" + "\u0301" * 200
    found = parts_as("ab" + zalgo, Coding(), 0)
    assert [len(part.octets) - 6 for part in found] == [4, 134, 134, 134]
    assert said(found, Coding()) == "ab" + zalgo
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
def test_more_than_255_parts_are_refused_however_told(long_as):
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


def test_look_alikes_are_used_where_they_spare_ucs2_and_only_there():
    told = encoder(Coding(), transliterate=True)
    assert told.encode("It’s ú…")[1] == b"It's u..."
    assert told.alphabets[told.encode("It’s 日")[0]].encoding == "UCS2"
    assert told.encode("It’s 日")[1].decode("utf-16-be") == "It’s 日"
    assert told.alphabets[told.encode("https://x.example/’")[0]].encoding == "UCS2"
    assert told.encode("‘see’ https://x.example/q")[1] == b"'see' https://x.example/q"
    turkish = encoder(Coding(single_shift=1), transliterate=True)
    assert turkish.alphabets[turkish.encode("ş")[0]].elements == b"\x24\x01\x01"
    assert turkish.encode("ş’")[1] == b"s'"


def test_packed_septets_are_those_of_the_specification():
    packed = Coding(default_alphabet="gsm_packed")
    assert parts_as("hellohello", packed, 0)[0].octets.hex() == "e8329bfd4697d9ec37"  # known from many handbooks
    assert parts_as("1234567", packed, 0)[0].octets.hex() == "31d98c56b3dd1a", "seven bits left over are a CR"
    assert [len(part.octets) for part in parts_as("a" * 160, packed, 0)] == [140]
    first, last = parts_as("a" * 153 + "£" * 8, packed, 7)
    assert (first.octets[:6].hex(), len(first.octets)) == ("050003070201", 140)
    assert last.octets.hex() == "050003070202" + "028140201008041a", "one bit between the header and the first septet"
    assert [len(part.octets) for part in parts_as("a" * 153, replace(packed, long_as="udh16"), 0)] == [134]
    assert decode(0, last.octets, True, "gsm_packed") == "£" * 8


def test_an_endpoint_without_ucs2_says_which_characters_it_lacks():
    bare = Coding(ucs2=False)
    with pytest.raises(NotSayable, match="no UCS-2 and has no ’ U\\+2019, 日 U\\+65E5") as refused:
        encoder(bare).encode("It’s 日日")
    assert refused.value.characters == ("’", "日")
    spared = encoder(replace(bare, transliterate=True))
    assert spared.encode("It’s")[1] == b"It's"
    assert spared.outside("It’s 日") == ["日"]
    with pytest.raises(NotSayable):
        spared.encode("https://x.example/’")


def test_the_kernels_table_of_look_alikes_has_every_stand_in():
    codes = (*range(0xD800), *range(0xE000, 0x20000))
    assert look_alikes() == {chr(c): replacement(chr(c)) for c in codes if replacement(chr(c)) != chr(c)}


@pytest.mark.parametrize(
    ("text", "in_address", "ends"),
    [
        ("see https://x.example/", False, True),
        ("see https://x.example/ ", False, False),
        ("see https://", False, True),
        ("www.", False, True),
        ("see", False, False),
        ("/more", True, True),
        (", and", True, False),
        ("", True, True),
    ],
)
def test_what_follows_an_address_is_known_to_be_one(text, in_address, ends):
    assert ends_in_address(text, in_address) is ends


def test_the_settings_know_what_the_tables_know():
    assert (ALPHABETS_SET, LONG_MESSAGES) == (ALPHABETS, LONG_AS)
    names = {number: name.lower() for number, name in LANGUAGES.items()}
    assert {names[n] for n in SINGLE if n} == set(SINGLE_SHIFTS) - {""}
    assert {names[n] for n in LOCKING if n} == set(LOCKING_SHIFTS) - {""}
    endpoint = Endpoint(
        name="e", host="h", system_id="s", single_shift="turkish", long_messages="sar", latin1=True, ucs2=False,
        transliterate=True, default_alphabet="gsm_packed",
    )  # fmt: skip
    assert coding_of(endpoint) == Coding(
        single_shift=1, long_as="sar", latin1=True, ucs2=False, transliterate=True, default_alphabet="gsm_packed"
    )
    assert coding_of(Endpoint(name="e", host="h", system_id="s")) == Coding()
