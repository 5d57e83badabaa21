"""Single cells: what they mean, and that the kernel never answers otherwise than parse_cells."""

from __future__ import annotations

from array import array
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.members import _parse_codes, _parse_numbers, _parse_texts, parse_cells
from dispatcher.members.msisdn import Unparsed, normalise
from dispatcher.members.parse_cells import Rejected, shown
from dispatcher.members.parse_dates import ISO
from dispatcher.members.parse_national import national_table

LEFT_ODD = object()
CELLS = st.one_of(
    st.from_regex(rb"[ \t]{0,2}[+-]?[0-9]{0,20}[ \t]?", fullmatch=True),
    st.from_regex(rb"(\+|00)?[0-9]{5,17}", fullmatch=True),
    st.from_regex(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True),
    st.dates().map(lambda day: day.isoformat().encode()),
    st.from_regex(rb"-?[0-9]{0,14}\.?[0-9]{0,8}", fullmatch=True),
    st.binary(max_size=12),
    st.text(max_size=12).map(str.encode),
)


def kernel_number(what: int, cell: bytes, width: int, form: bytes = ISO, region: str = "") -> object:
    """What the kernel reads; LEFT_ODD when it leaves the cell to parse_cells, None when it is empty."""
    unknown = -(1 << 8 * width - 1)
    cells, given_bits, odd = array("I", [0, len(cell)]), array("Q", [0]), array("I", [0])
    out = bytearray(width)
    left = _parse_numbers.numbers(
        what,
        bytearray(cell or b" "),
        cells,
        1,
        0,
        1,
        bytearray(b"\1"),
        given_bits,
        2,
        out,
        width,
        unknown,
        form,
        national_table(region),
        odd,
    )
    value = int.from_bytes(out, "little", signed=what != _parse_numbers.PHONE)
    assert bool(given_bits[0]) == bool(cell.strip(b" \t"))
    return LEFT_ODD if left else None if value == unknown else value


@given(cell=CELLS)
@example(b"0000-01-01")
@example(b"2000-02-29")
@example(b"1900-02-29")
@example(b"-2147483648")
@example(b"2147483648")
@example(b"-")
@example(b".5")
@example(b"5.")
def test_the_kernel_reads_a_plain_cell_as_parse_cells_does(cell: bytes):
    trimmed = cell.strip(b" \t")
    for what, width, meaning in (
        (_parse_numbers.PHONE, 8, lambda text: parse_cells.phone_of(text, "")),
        (_parse_numbers.DATE, 4, parse_cells.date_of),
        (_parse_numbers.INT, 4, lambda text: parse_cells.int_of(text, 4)),
        (_parse_numbers.INT, 8, lambda text: parse_cells.int_of(text, 8)),
        (_parse_numbers.MONEY, 8, parse_cells.money_of),
        (_parse_numbers.POINTS, 8, parse_cells.points_of),
    ):
        found = kernel_number(what, cell, width)
        if found is LEFT_ODD:
            continue
        assert found == (meaning(trimmed.decode()) if trimmed else None)


@given(text=st.text(max_size=8) | st.text("aé王😀\x7f\n\t \ud800'=", max_size=8), cut=st.integers(0, 3))
def test_the_kernel_takes_a_text_exactly_when_parse_cells_does(text: str, cut: int):
    cell = text.encode(errors="surrogatepass")
    cell = cell[: len(cell) - cut]
    data, cells, odd, bits = bytearray(cell or b" "), array("I", [0, len(cell)]), array("I", [0]), array("Q", [0])
    left = _parse_texts.texts(data, cells, 1, 0, 1, bytearray(b"\1"), bits, 1, 5, odd)
    trimmed = cell.strip(b" \t")
    assert bytes(data[cells[0] : cells[1]]) == trimmed
    found = parse_cells.clean_text_of(trimmed, 5)
    maybe_escaped = isinstance(found, str) and found[:1] == "'" and found[1:2] in tuple("'=+-@\t\r")
    assert bool(left) == (isinstance(found, Rejected) or maybe_escaped)


@given(data=st.data(), sets=st.lists(st.lists(st.integers(0, 0xFFFF), max_size=4), min_size=1, max_size=9))
def test_the_chosen_sets_follow_each_other_and_each_end_is_told(data: st.DataObject, sets: list[list[int]]):
    which, base = data.draw(st.lists(st.integers(0, len(sets) - 1), max_size=30)), data.draw(st.integers(0, 1_000))
    packed, ends = [array("H", codes).tobytes() for codes in sets], array("I", bytes(4 * len(which)))
    starts = array("I", accumulate(map(len, packed), initial=0))
    heap = _parse_texts.chosen(array("H", which), b"".join(packed), starts, base, ends)
    assert heap == b"".join(packed[at] for at in which)
    assert list(ends) == list(accumulate((len(sets[at]) for at in which), initial=base))[1:]
    with pytest.raises(ValueError, match="a part that is none"):
        _parse_texts.chosen(array("H", [len(sets)]), b"".join(packed), starts, base, array("I", [0]))


@given(words=st.lists(st.binary(min_size=1, max_size=6), unique=True, max_size=400), asked=st.binary(max_size=6))
def test_a_code_table_finds_every_word_it_learned_and_no_other(words: list[bytes], asked: bytes):
    table = _parse_codes.Codes()
    for code, word in enumerate(words, start=1):
        table.learn(word, code)
        table.learn(word, 9_999)
    known = {word.strip(b" \t"): code for code, word in enumerate(words, start=1) if word.strip(b" \t") == word}
    for cell in [*known, asked.strip(b" \t")]:
        out, odd = bytearray(2), array("I", [0])
        arrays = (array("I", [0, len(cell)]), 1, 0, 1, bytearray(b"\1"), array("Q", [0]), 1)
        left = _parse_codes.codes(table, bytearray(cell or b" "), *arrays, out, 2, odd)
        code = 0 if not cell else known.get(cell)
        assert (None if left else int.from_bytes(out, "little")) == code


@pytest.mark.parametrize("region", ["CN", "DE", "US", "GB", "BR", "IT", "AR", "RU"])
@given(text=st.from_regex(r"[0-9]{4,13}", fullmatch=True))
@example("13800138000")
@example("15123456789")
@example("8613800138000")
@example("2025550123")
def test_a_plain_national_number_is_read_as_normalise_reads_it(region: str, text: str):
    quick = parse_cells._national(text, region)
    if quick is not None:
        assert quick == normalise(text, region)


@pytest.mark.parametrize("region", ["CN", "DE", "US", "GB", "BR", "IT", "AR", "RU", "FR", "MX", "IN", "JP"])
@given(text=st.from_regex(r"[0-9]{4,16}", fullmatch=True) | st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
@example("13800138000")
@example("0")
@example("")
def test_the_kernel_reads_a_national_number_as_the_quick_way_does(region: str, text: str):
    found = kernel_number(_parse_numbers.PHONE, text.encode(), 8, region=region)
    quick = parse_cells._national(text, region) if text else None
    if quick is None or not national_table(region):
        assert found is (LEFT_ODD if text and not text.startswith("00") else found)
    else:
        assert found == quick


def test_the_regions_with_the_most_numbers_have_a_table():
    tables = {region: len(national_table(region)) for region in ("CN", "IN", "US", "BR", "RU", "DE", "GB", "FR")}
    assert all(2 < octets < 22_000 for octets in tables.values()), tables
    assert len(national_table("")) == 0 and len(national_table("AR")) == 0


def test_most_national_numbers_take_the_quick_way():
    quick = [parse_cells._national(f"138{i:08d}", "CN") for i in range(0, 10**8, 10**6 + 1)]
    assert quick == [8613800000000 + i for i in range(0, 10**8, 10**6 + 1)]


@pytest.mark.parametrize(
    ("text", "days"), [("2020-02-29", 18321), ("20200229", 18321), ("29.02.2020", 18321), ("1.1.1970", 0)]
)
def test_a_date_has_three_forms(text: str, days: int):
    assert parse_cells.date_of(text) == days


@pytest.mark.parametrize("text", ["2019-02-29", "2020-13-01", "29/02/2020", "tomorrow", "2020-2-9", "0000-01-01"])
def test_what_is_no_date_is_refused(text: str):
    assert isinstance(parse_cells.date_of(text), Rejected)


@pytest.mark.parametrize("text", ["02-29", "--02-29", "29.02.", "2020-02-29", "29.2."])
def test_a_day_of_the_year_has_several_forms(text: str):
    assert parse_cells.month_day_of(text) == 2 * 32 + 29


@pytest.mark.parametrize("text", ["02-30", "13-01", "2019-02-29", "soon"])
def test_what_is_no_day_of_the_year_is_refused(text: str):
    assert isinstance(parse_cells.month_day_of(text), Rejected)


def test_an_empty_and_a_wrong_number_are_told_apart():
    empty, wrong = parse_cells.phone_of("", "DE"), parse_cells.phone_of("12", "DE")
    assert isinstance(empty, Rejected) and empty.code == "empty_number"
    assert isinstance(wrong, Rejected) and wrong.code == "wrong_number"
    assert isinstance(normalise("12", "DE"), Unparsed)


def test_negative_points_are_refused():
    assert isinstance(parse_cells.points_of("-1"), Rejected)


@given(octets=st.binary(max_size=1_000))
def test_what_a_reject_shows_is_bounded_text(octets: bytes):
    text = shown(octets)
    assert len(text) <= 100 and "\0" not in text
    text.encode()


@pytest.mark.parametrize(
    ("cell", "text"), [("'=1+1", "=1+1"), ("''-x", "'-x"), ("'x", "'x"), ("=1", "=1"), ("''", "''"), ("'@", "@")]
)
def test_what_an_export_escaped_is_as_it_was(cell: str, text: str):
    assert parse_cells.unescaped(cell) == text
