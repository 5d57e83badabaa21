"""Long messages: counts, cuts, headers, and the compiled encoder against its reference and smpplib."""

import zlib
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpplib import gsm

from dispatcher.text.alphabet import GSM7, clean
from dispatcher.text.coding import Coding, encode, encoder
from dispatcher.text.decode import decode, read_udh
from dispatcher.text.octets import crc32
from dispatcher.text.parts import TextTooLong, billed, describe, fits_somewhere, parts
from tests.reference import coding as reference

GSM_TEXTS = st.text(st.sampled_from([*GSM7, *"[]{}€^|~\\" * 4]), max_size=700)
ANY = st.characters(exclude_categories=())  # surrogates, NUL and ESC among them
TEXTS = st.one_of(GSM_TEXTS, st.text(ANY, max_size=400), st.text(st.sampled_from("a😀日é[\0\x1b\ud83d"), max_size=400))


@given(text=TEXTS)
def test_compiled_and_reference_give_the_same_octets(text):
    assert encode(text) == reference.encode(text)


@given(text=TEXTS, ref=st.integers(0, 70_000))
def test_compiled_and_reference_give_the_same_parts(text, ref):
    wanted = reference.made(reference.say(text, Coding()), Coding(), ref)
    assert [(p.esm_class, p.data_coding, p.octets, 0, 0) for p in parts(text, ref)] == wanted


@given(text=TEXTS)
def test_decoding_what_was_encoded_gives_the_text_back(text):
    assert decode(*encode(text)) == clean(text)


@given(text=TEXTS, ref=st.integers(0, 255))
def test_parts_joined_are_the_text_under_one_reference(text, ref):
    found = parts(text, ref)
    assert "".join(decode(p.data_coding, p.octets, p.esm_class == 0x40) or "" for p in found) == clean(text)
    if len(found) > 1:
        places = [read_udh(p.octets)[0] for p in found]
        assert [(c.reference, c.width, c.total, c.part) for c in places if c] == [
            (ref, 8, len(found), no) for no in range(1, len(found) + 1)
        ]
    assert all(len(p.octets) <= (140 if p.data_coding == 8 else 160) for p in found)


@given(text=st.text(st.sampled_from([c for c in GSM7 if c not in "§\f"]), max_size=900))
def test_smpplib_gives_the_same_parts_where_it_cuts_no_pair(text):
    theirs, data_coding, esm_class = gsm.make_parts(text)
    if any(part.endswith(b"\x1b") for part in theirs):
        return
    udh = 6 if esm_class else 0
    ours = parts(text, theirs[0][3] if udh else 0)
    assert [(p.esm_class, p.data_coding, p.octets) for p in ours] == [(esm_class, data_coding, t) for t in theirs]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("a" * 158 + "€", 1),
        ("a" * 159 + "€", 2),
        ("a" * 152 + "€" + "a" * 151, 2),
        ("a" * 152 + "€" + "a" * 152, 3),  # 306 septets, but the pair may not be cut
        ("日" * 70, 1),
        ("日" * 71, 2),
        ("日" * 134, 2),
        ("日" * 135, 3),
        ("日" * 66 + "😀" + "日" * 66, 3),  # 134 units, but the surrogates may not be cut
    ],
)
def test_part_counts_are_exact_at_the_edges(text, count):
    assert len(parts(text, 0)) == count == describe(text)["parts"]


def test_255_parts_are_made_and_more_are_refused():
    assert len(parts("a" * 255 * 153, 7)) == 255
    with pytest.raises(TextTooLong) as refused:
        parts("a" * (255 * 153 + 1), 7)
    assert refused.value.limit == 255
    with pytest.raises(TextTooLong):
        parts("a" * 161, 7, max_parts=1)


def test_reference_0_is_legal_and_256_wraps_to_it():
    assert parts("a" * 200, 0) == parts("a" * 200, 256)
    assert parts("a" * 200, 0)[1].octets[:6] == bytes((5, 0, 3, 0, 2, 2))


def test_describe_tells_what_a_text_costs_and_why():
    assert describe("a" * 150) == {"alphabet": "gsm7", "units": 150, "parts": 1, "left": 10, "forced_by": []}
    assert describe("日" * 71) == {"alphabet": "ucs2", "units": 71, "parts": 2, "left": 63, "forced_by": ["日"]}
    assert describe("a" * 255 * 154)["parts"] == 0


@given(octets=st.binary(max_size=300))
def test_crc32_is_zlibs(octets):
    assert crc32(octets) == zlib.crc32(octets)


def test_cuts_refuses_what_cannot_be_an_encoded_text():
    usual = encoder(Coding())
    assert usual.cuts(0, memoryview(b"abc")) == [3]
    with pytest.raises(ValueError, match="3 octets"):
        usual.cuts(1, b"abc")
    with pytest.raises(ValueError, match="octets"):
        usual.cuts(2, b"abc")


@pytest.mark.parametrize(
    ("text", "parts_of_it"),
    [("a" * 306, 2), ("“" * 306, 2), ("œ" * 153, 2), ("þ" * 306, 3), ("日" * 134, 2), ("ğ" * 306, 2), ("न" * 292, 2)],
)
def test_a_text_fits_if_some_endpoint_takes_it_in_so_many_parts(text, parts_of_it):
    assert fits_somewhere(text, parts_of_it) and not fits_somewhere(text, parts_of_it - 1)


class China(NamedTuple):
    first: int = 70
    more: int = 67


@pytest.mark.parametrize(
    ("text", "on_the_wire", "paid"),
    [
        ("", 1, 1),
        ("a" * 70, 1, 1),
        ("a" * 71, 1, 2),
        ("a" * 134, 1, 2),
        ("a" * 135, 1, 3),
        ("日" * 70, 1, 1),
        ("日" * 135, 3, 3),
        ("😀" * 35, 1, 1),
        ("😀" * 36, 2, 2),
        ("€" * 70, 1, 1),
        ("a" * (255 * 153 + 1), 0, 0),
    ],
)
def test_a_market_may_bill_characters_whatever_leaves(text, on_the_wire, paid):
    usual = encoder(Coding())
    assert billed(usual, text, None) == on_the_wire
    assert billed(usual, text, China()) == paid


def test_of_a_payload_the_parts_that_phones_get_are_billed():
    assert billed(encoder(Coding(long_as="payload")), "a" * 400, None) == 3
