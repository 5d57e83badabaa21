"""A member's code in a pool: the kernel against its twin, there and back, what is mistyped, guessed or of another pool."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.coupons.code import ALPHABET, CODE_CHARACTERS, KEY_OCTETS, code_of, member_of, normal
from tests.reference import coupons as reference

KEYS = st.binary(min_size=KEY_OCTETS, max_size=KEY_OCTETS)
MEMBERS = st.integers(0, 2**32 - 1)
CODES = st.text(ALPHABET, min_size=CODE_CHARACTERS, max_size=CODE_CHARACTERS)
KEY = bytes(range(16))


@pytest.mark.parametrize(
    ("octets", "published"),
    [(15, "a129ca6149be45e5"), (0, "726fdb47dd0e0e31"), (5, "18765564cd99a68d"), (8, "93f5f5799a932462")],
)
def test_the_twin_hashes_as_siphash_2_4_was_published(octets, published):
    """The paper's appendix A has the 15 octets, its authors' vectors.h the others; 5 are what a round hashes."""
    assert f"{reference.siphash24(KEY, bytes(range(octets))):016x}" == published


@given(key=KEYS, member_no=MEMBERS, typed=CODES)
def test_compiled_and_reference_give_the_same_codes_and_members(key, member_no, typed):
    code = code_of(key, member_no)
    assert code == reference.code_of(key, member_no)
    assert member_of(key, code) == reference.member_of(key, code) == member_no
    assert member_of(key, typed) == reference.member_of(key, typed)


@given(key=KEYS, numbers=st.lists(MEMBERS, min_size=2, max_size=50, unique=True))
def test_two_members_have_two_codes(key, numbers):
    codes = {code_of(key, number) for number in numbers}
    assert len(codes) == len(numbers)
    assert all(normal(code) == code for code in codes)


@given(key=KEYS, other=KEYS, member_no=MEMBERS)
def test_a_code_of_another_key_is_nobodys(key, other, member_no):
    code = code_of(key, member_no)
    assert member_of(other, code) == (member_no if key == other else None)


@given(key=KEYS, member_no=MEMBERS, at=st.integers(0, CODE_CHARACTERS - 1), letter=st.sampled_from(ALPHABET))
def test_a_code_with_one_letter_changed_is_nobodys(key, member_no, at, letter):
    code = code_of(key, member_no)
    changed = code[:at] + letter + code[at + 1 :]
    assert member_of(key, changed) == (member_no if changed == code else None)


@given(key=KEYS, member_no=MEMBERS, at=st.integers(0, CODE_CHARACTERS - 2))
def test_a_code_with_two_letters_swapped_is_nobodys(key, member_no, at):
    code = code_of(key, member_no)
    swapped = code[:at] + code[at + 1] + code[at] + code[at + 2 :]
    assert member_of(key, swapped) == (member_no if swapped == code else None)


@given(key=KEYS, member_no=MEMBERS, data=st.data())
def test_a_code_is_read_as_people_type_it(key, member_no, data):
    code, typed = code_of(key, member_no), ""
    misread = {"0": "0Oo", "1": "1IiLl"}
    for letter in code:
        typed += data.draw(st.sampled_from(misread.get(letter, letter + letter.lower())))
        typed += data.draw(st.sampled_from(["", "", "-", " "]))
    assert normal(typed) == code
    assert member_of(key, typed) == member_no


def test_full_width_forms_are_their_plain_ones():
    assert normal("１２３４－ａｂｃｄ－ＷＸＹＺ") == "1234ABCDWXYZ"


@pytest.mark.parametrize(
    "typed",
    ["", "X" * 11, "X" * 13, "XXXXXXXXXXXU", "XXXXXXXXXXX_", "XXXXXXXXXXX×", "XXXXXXXXXXXß", "XXXXXXXXXXX\ud800"],
)
def test_what_has_not_twelve_letters_of_the_alphabet_is_no_code(typed):
    assert normal(typed) is None
    assert member_of(KEY, typed) is None


@pytest.mark.parametrize("key", [b"", bytes(15), bytes(17)])
def test_a_key_of_another_length_is_an_error(key):
    with pytest.raises(ValueError, match="16 octets"):
        code_of(key, 1)
    with pytest.raises(ValueError, match="16 octets"):
        member_of(key, "X" * 12)


@pytest.mark.parametrize("member_no", [-1, 2**32])
def test_what_is_no_member_no_has_no_code(member_no):
    with pytest.raises(OverflowError):
        code_of(KEY, member_no)


def test_codes_stay_what_they_were():
    """Those that went out are on phones: another derivation would make all of them nobody's."""
    codes = [code_of(KEY, number) for number in (0, 1, 16_320, 2**32 - 1)]
    assert codes == ["6S5YPVJQ39BJ", "520E80VWHD21", "51S581RR3DGC", "1CG15YZRK01E"]
