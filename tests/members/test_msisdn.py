"""Numbers in one form, and why one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.members.msisdn import Unparsed, international, is_valid, normalise


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("+4915112345678", "", 4915112345678),
        ("0049 151 1234-5678", "", 4915112345678),
        (" +49 (151) 123.45678 ", "DE", 4915112345678),
        ("0151 12345678", "DE", 4915112345678),
        ("13800138000", "CN", 8613800138000),
        ("+８６１３８００１３８０００", "", 8613800138000),
        ("011 49 151 12345678", "US", 4915112345678),
        ("+1234567", "", 1234567),
        ("+123456789012345", "", 123456789012345),
    ],
)
def test_a_number_is_read_in_international_and_in_national_form(text: str, region: str, number: int):
    assert normalise(text, region) == number


@pytest.mark.parametrize(
    ("text", "region", "reason"),
    [
        ("", "DE", "empty"),
        (" - ", "DE", "empty"),
        ("0151 12345678", "", "needs_region"),
        ("hello", "", "not_a_number"),
        ("hello", "DE", "not_a_number"),
        ("+0151123456", "", "not_a_number"),
        ("12", "DE", "too_short"),
        ("0151 1234567890123", "DE", "too_long"),
        ("+1234567890123456", "", "too_long"),
        ("030 123456 ext. 7", "DE", "extension"),
        ("9" * 5000, "DE", "too_long"),
    ],
)
def test_what_is_no_number_is_refused_with_its_reason(text: str, region: str, reason: str):
    assert normalise(text, region) == Unparsed(text, reason)


@given(st.text(max_size=50), st.sampled_from(["", "DE", "CN", "US"]))
def test_any_text_gives_a_valid_number_or_a_reason(text: str, region: str):
    found = normalise(text, region)
    assert isinstance(found, Unparsed) or is_valid(found)


@given(st.integers(10**6, 10**15 - 1))
def test_what_is_shown_is_read_back(number: int):
    assert normalise(international(number) or "", "") == number


def test_0_is_no_number():
    assert international(0) is None and not is_valid(0)
