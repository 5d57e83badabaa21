"""Octets from phones to text: every data_coding, headers of every shape, and nothing that raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.text.coding import ALPHABETS
from dispatcher.text.decode import Concat, coding_of, decode, read_udh


@given(
    data_coding=st.integers(0, 255), octets=st.binary(max_size=200), udhi=st.booleans(),
    alphabet=st.sampled_from(ALPHABETS),
)  # fmt: skip
def test_any_octets_give_text_or_None(data_coding, octets, udhi, alphabet):
    text = decode(data_coding, octets, udhi, alphabet)
    assert text is None or isinstance(text, str)


@pytest.mark.parametrize(
    ("data_coding", "octets", "text"),
    [
        (0, b"\x00STOP\x1b\x65", "@STOP€"),
        (0, b"caf\xe9", "café"),  # this SMSC's default is Latin-1
        (0, b"\x81", None),
        (0, b"a\x1b", "a "),
        (0, b"\x1bz", "z"),  # an extension nobody defined shows the basic character
        (1, b"STOP", "STOP"),
        (3, b"caf\xe9", "café"),
        (4, b"STOP", None),
        (6, "Стоп".encode("iso8859_5"), "Стоп"),
        (8, "停😀".encode("utf-16-be"), "停😀"),
        (8, b"\x00a\x00", None),
        (8, b"\xd8\x00", None),
        (0x10, b"\x00", "@"),  # class 0, default alphabet
        (0x18, "停".encode("utf-16-be"), "停"),
        (0x20, b"a", None),
        (0xC0, b"a", "a"),
        (0xE0, "停".encode("utf-16-be"), "停"),
        (0xF0, b"\x00", "@"),
        (0xF4, b"a", None),
    ],
)
def test_each_coding_is_read_by_its_table(data_coding, octets, text):
    assert decode(data_coding, octets) == text


def test_every_data_coding_has_an_answer():
    assert all(isinstance(coding_of(value), str) for value in range(256))


@pytest.mark.parametrize(
    ("octets", "concat", "length"),
    [
        (b"\x05\x00\x03\x07\x02\x01hi", Concat(7, 8, 2, 1), 6),
        (b"\x06\x08\x04\x01\x02\x03\x03hi", Concat(0x102, 16, 3, 3), 7),
        (b"\x0b\x05\x04\x00\x01\x00\x02\x00\x03\x07\x02\x02hi", Concat(7, 8, 2, 2), 12),  # ports first
        (b"\x0a\x00\x03\x01\x02\x01\x00\x03\x09\x04\x03", Concat(9, 8, 4, 3), 11),  # repeated: the last counts
        (b"\x05\x00\x03\x07\x00\x01hi", None, 6),  # total 0
        (b"\x05\x00\x03\x07\x02\x00hi", None, 6),  # part 0
        (b"\x05\x00\x03\x07\x02\x03hi", None, 6),  # part above total
        (b"\x05\x00\x03\x00\x02\x01hi", Concat(0, 8, 2, 1), 6),  # reference 0 is one
        (b"\x05\x00\x09\x07\x02\x01hi", None, 0),  # element past the header: text
        (b"\x50hi", None, 0),  # header past the end: text
        (b"\x00hi", None, 1),
        (b"", None, 0),
    ],
)
def test_a_user_data_header_is_walked_element_by_element(octets, concat, length):
    assert read_udh(octets) == (concat, length)


def test_a_text_behind_a_header_is_read_without_it():
    assert decode(0, b"\x05\x00\x03\x07\x02\x01STOP", True) == "STOP"


def test_data_coding_0_is_what_the_endpoint_says():
    assert decode(0, b"a@b_c") == "a¡b§c"
    assert decode(0, b"a@b_c", default_alphabet="latin1") == "a@b_c"
    assert decode(0xF0, b"@", default_alphabet="latin1") == "¡", "a class names its alphabet"
