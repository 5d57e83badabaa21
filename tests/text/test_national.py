"""National tables: held against the standard's own samples, both ways, and never in the way of the default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.text.alphabet import BASIC, ESC, GSM7
from dispatcher.text.decode import decode, udh_elements
from dispatcher.text.national import LANGUAGES, LOCKING, SINGLE, septets_of


@pytest.mark.parametrize("language", sorted(LOCKING))
def test_a_locking_table_has_128_places_and_keeps_line_feed_return_and_escape(language):
    table = LOCKING[language]
    assert len(table) == 128 and (table[0x0A], table[0x0D], table[ESC], table[0x20]) == ("\n", "\r", "\x1b", " ")
    letters = [character for character in table if character != " "]
    assert len(set(letters)) == len(letters)


def test_there_is_a_single_shift_table_a_language_and_no_locking_one_for_spanish():
    assert set(SINGLE) == {0, *LANGUAGES} and set(LOCKING) == set(LANGUAGES) - {2}
    for table in SINGLE.values():
        assert table[0x65] == "€" and table[0x3C] == "[" and table[0x0A] == "\f"
        assert ESC not in table and all(0 <= octet < 128 for octet in table)


@pytest.mark.parametrize(
    ("language", "octet", "character"),
    [  # TS 23.038 annex A.3
        (1, 0x04, "€"), (1, 0x07, "ı"), (1, 0x0B, "Ğ"), (1, 0x1D, "ş"), (1, 0x40, "İ"), (1, 0x60, "ç"), (1, 0x09, "Ç"),
        (3, 0x04, "ê"), (3, 0x12, "ª"), (3, 0x15, "∞"), (3, 0x18, "€"), (3, 0x24, "º"), (3, 0x5B, "Ã"), (3, 0x7D, "`"),
        (4, 0x00, "ঁ"), (4, 0x12, " "), (4, 0x2F, "ন"), (4, 0x60, "ৎ"), (5, 0x7F, "૱"), (6, 0x00, "ँ"), (6, 0x1C, "छ"),
        (6, 0x3C, "ऩ"), (6, 0x5F, "्"), (6, 0x7B, "ॲ"), (7, 0x7B, "ೖ"), (8, 0x7F, "൹"), (9, 0x60, "ୖ"),
        (10, 0x43, "ਯ"), (10, 0x4F, " "), (11, 0x2A, " "), (11, 0x3C, "ன"), (12, 0x60, "ౕ"), (13, 0x00, "ا"), (13, 0x7F, "ٰ"),
    ],
)  # fmt: skip
def test_letters_stand_where_the_standard_has_them(language, octet, character):
    assert LOCKING[language][octet] == character
    assert decode(0, bytes((3, 0x25, 1, language, octet)), True) == character


@pytest.mark.parametrize(
    ("language", "octet", "character"),
    [
        (1, 0x47, "Ğ"), (1, 0x53, "Ş"), (1, 0x69, "ı"), (2, 0x09, "ç"), (2, 0x41, "Á"), (2, 0x75, "ú"), (3, 0x0E, "Á"),
        (3, 0x15, "Ω"), (3, 0x5C, "Õ"), (3, 0x7F, "â"), (4, 0x19, "০"), (4, 0x34, "৺"), (6, 0x1C, "०"), (6, 0x2C, "\u0958"),
        (6, 0x3A, "ॱ"), (7, 0x2A, "ೲ"), (8, 0x34, "ൿ"), (10, 0x2D, "ੵ"), (11, 0x2E, "௺"), (12, 0x32, "౿"), (13, 0x3F, "۔"),
        (6, 0x41, "A"), (13, 0x19, "\u0600"),
    ],
)  # fmt: skip
def test_pairs_mean_what_the_standard_says(language, octet, character):
    assert SINGLE[language][octet] == character
    assert decode(0, bytes((3, 0x24, 1, language, ESC, octet)), True) == character


def test_a_pair_that_a_table_lacks_shows_the_letter_and_an_unknown_language_the_default():
    assert decode(0, bytes((3, 0x24, 1, 1, ESC, 0x41)), True) == "A"
    assert decode(0, bytes((3, 0x25, 1, 99, 0x04)), True) == BASIC[4]
    assert decode(0, bytes((4, 0x25, 2, 1, 1, 0x04)), True) == BASIC[4], "an element of another length is none"
    assert decode(8, bytes((3, 0x25, 1, 1)) + "é".encode("utf-16-be"), True) == "é"


def test_both_tables_and_a_concatenation_may_stand_in_one_header():
    header = bytes((0x0B, 0x00, 3, 7, 2, 1, 0x24, 1, 1, 0x25, 1, 1))
    assert decode(0, header + b"\x60\x1b\x53\x41", True) == "çŞA"
    assert [element for element, _ in udh_elements(header)[0]] == [0, 0x24, 0x25]


@given(single=st.sampled_from(sorted(SINGLE)), locking=st.sampled_from([0, *sorted(LOCKING)]), data=st.data())
def test_a_text_of_the_tables_comes_back(single, locking, data):
    table = septets_of(single, locking)
    text = data.draw(st.text(st.sampled_from(sorted(table)), max_size=60))
    octets = b"".join(table[character] for character in text)
    assert decode(0, bytes((6, 0x24, 1, single, 0x25, 1, locking)) + octets, True) == text


def test_without_languages_the_tables_are_the_default_ones():
    assert septets_of(0, 0) == GSM7


@given(octets=st.binary(max_size=80), data_coding=st.integers(0, 255))
def test_any_header_gives_text_or_none(octets, data_coding):
    elements, length = udh_elements(octets)
    assert 0 <= length <= len(octets) and sum(len(data) + 2 for _, data in elements) == max(0, length - 1)
    assert decode(data_coding, octets, True) is None or isinstance(decode(data_coding, octets, True), str)
