"""The tables of the two alphabets, held against smpplib where it is right and the standard where it is not."""

import pytest
from smpplib import gsm

from dispatcher.text.alphabet import BASIC, EXTENSION, GSM7, clean, normalise, outside_gsm7


def test_the_tables_have_127_characters_and_10_pairs_each_once():
    assert len(BASIC) == 128 and BASIC[0x1B] == "\x1b"
    assert len(GSM7) == 127 + 10 and "\x1b" not in GSM7
    assert len(set(GSM7.values())) == len(GSM7)
    assert not set(EXTENSION) & set(BASIC)


@pytest.mark.parametrize(
    ("character", "octet"), [*zip("@$_¤¡§¿Ç", (0, 2, 0x11, 0x24, 0x40, 0x5F, 0x60, 9), strict=True)]
)
def test_what_others_get_wrong_stands_where_the_standard_has_it(character, octet):
    assert GSM7[character] == bytes([octet])


def test_smpplib_agrees_but_for_section_sign_and_form_feed():
    for character, octets in GSM7.items():
        if character not in "§\f":
            assert gsm.gsm_encode(character) == octets


@pytest.mark.parametrize("character", "`\tç\xa0áíóú“”’–—…•αβ\u2126\u212b")
def test_what_people_take_for_gsm_is_not(character):
    assert outside_gsm7(f"a{character}{character}b") == [character]


def test_nfc_brings_look_alikes_into_the_alphabet():
    assert outside_gsm7(normalise("e\u0301 \u2126 \u212b")) == []


def test_nul_esc_and_lone_surrogates_become_spaces():
    assert clean("a\0b\x1bc\ud800d\udfffe") == "a b c d e"
