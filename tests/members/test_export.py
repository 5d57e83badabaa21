"""Members as a file: what an export wrote imports again to the same values, and no cell is a formula."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.control.commands import EraseMember, NoteExport
from dispatcher.errors import CommandRefused
from dispatcher.members.erase import erase_member
from dispatcher.members.export import Export, audit_reason
from dispatcher.members.export_cells import csv_cells, masked_number, money_text
from dispatcher.members.fields import Field
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import select
from dispatcher.store import Store
from dispatcher.store.blocks import ColumnKind
from dispatcher.store.columns import fold_some
from tests.fakes.people import everybody, run_import
from tests.fakes.shop import do, new_member, new_shop

FIRST = 4915100000000
FULL: dict[str, Any] = {
    "name": "Ada, \"the\" first\u2028", "tier": "gold", "city": "Köln", "visits": -7, "serial": -(1 << 40),
    "joined": "1969-12-31", "birthday": "02-29", "vip": False, "spend": -12_500_000, "tags": ["hotpot", "sea food"],
}  # fmt: skip


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    return store


def exported(store: Store, format: str = "csv", *names: str, expr: str = "everyone", masked: bool = False) -> bytes:
    with store.snapshot() as view:
        export = Export(view, 1, names, format, masked=masked)
        blocks = [(block, bitmap) for block, bitmap, _ in select(view, 1, compile_text(view, 1, expr))]
    octets = export.head()
    for block, bitmap in blocks:
        with store.snapshot() as view:
            octets += export.block(view, block, bitmap)
    return octets + export.tail()


def rows(octets: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(octets.decode(), newline="")))


def test_a_csv_has_a_header_and_a_row_a_member(shop: Store):
    new_member(shop, FIRST, **FULL)
    new_member(shop, FIRST + 1)
    one, two = rows(exported(shop))
    assert one == {
        "phone": f"+{FIRST}", "points": "0", "name": FULL["name"], "tier": "gold", "city": "Köln", "visits": "-7",
        "serial": str(-(1 << 40)), "joined": "1969-12-31", "birthday": "02-29", "vip": "no", "spend": "-12.50",
        "tags": "hotpot;sea food",
    }  # fmt: skip
    assert two == {**dict.fromkeys(one, ""), "phone": f"+{FIRST + 1}", "points": "0"}


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
def test_an_export_imports_to_the_same_values(shop: Store, format: str):
    new_member(shop, FIRST, **FULL)
    new_member(shop, FIRST + 1, name="=1+1", city="@home", tags=["+plus", "-minus"], vip=True, spend=1)
    new_member(shop, FIRST + 2, name="'=quoted", city="''-twice")
    before = everybody(shop)
    octets = exported(shop, format)
    other = new_shop(shop, "Other")
    mapping = {"points": ""} if format == "csv" else {}
    done = run_import(shop, 7, octets, tenant=other, mapping=mapping, format=format)
    assert done["members_imported"] == 3, done
    assert everybody(shop, other) == before


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"), ("+1", "+1"), ("-5.25", "-5.25"), ("-5 or so", "'-5 or so"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"), ("\rx", "\"'\rx\""), ("'=1", "''=1"), ("it's", "it's"), ("'tis", "'tis"), ("a=b", "a=b"),
        ('=HYPERLINK("x","y")', '"\'=HYPERLINK(""x"",""y"")"'), ("", ""), ("+", "'+"), ("--1", "'--1"),
    ],
)  # fmt: skip
def test_a_cell_that_begins_like_a_formula_is_escaped(text: str, cell: str):
    field = Field(16, "name", "text", ColumnKind.TEXT)
    assert csv_cells(field, ["plain", text or None]) == ["plain", cell]


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_any_texts_come_back_from_csv_and_none_is_a_formula(texts: list[str]):
    field = Field(16, "name", "text", ColumnKind.TEXT)
    cells = csv_cells(field, [text or None for text in texts])
    read = [row[0] for row in csv.reader(io.StringIO("".join(f"{cell},\r\n" for cell in cells), newline=""))]
    for text, mine in zip(read, texts, strict=True):
        assert mine == text or "'" + mine == text
    for text in read:
        assert text[:1] not in "=@\t\r" or not text
        assert text[:1] not in "+-" or not text or text[1:].replace(".", "", 1).isdigit()


@given(st.integers(-(1 << 62), 1 << 62))
def test_money_is_written_as_it_is_read(micro: int):
    whole, _, decimals = money_text(micro).lstrip("-").partition(".")
    assert len(decimals) >= 2 and int(whole) * 1_000_000 + int(decimals.ljust(6, "0")) == abs(micro)
    assert money_text(micro).startswith("-") == (micro < 0)


def test_ndjson_has_an_object_a_line_with_null_for_unknown(shop: Store):
    new_member(shop, FIRST, **FULL)
    new_member(shop, FIRST + 1)
    one, two = [json.loads(line) for line in exported(shop, "ndjson").split(b"\n") if line]
    assert one == {**FULL, "phone": f"+{FIRST}", "points": 0, "spend": "-12.50"}
    assert two == {**dict.fromkeys(one), "phone": f"+{FIRST + 1}", "points": 0, "tags": []}


def test_parquet_has_types(shop: Store):
    parquet = pytest.importorskip("pyarrow.parquet")
    new_member(shop, FIRST, **FULL)
    new_member(shop, FIRST + 1)
    table = parquet.read_table(io.BytesIO(exported(shop, "parquet")))
    assert table.num_rows == 2
    row = table.to_pylist()[0]
    assert (row["visits"], row["vip"], str(row["joined"]), row["tags"]) == (-7, False, "1969-12-31", FULL["tags"])


def test_chosen_fields_in_their_order_of_those_who_match(shop: Store):
    for at in range(4):
        new_member(shop, FIRST + at, visits=at, name=f"M{at}")
    assert exported(shop, "csv", "name", "visits", expr="visits >= 2") == b"name,visits\r\nM2,2\r\nM3,3\r\n"
    assert exported(shop, "csv", "name", expr="visits > 9") == b"name\r\n"


def test_a_single_column_with_an_empty_cell_is_still_a_row(shop: Store):
    new_member(shop, FIRST)
    assert exported(shop, "csv", "name") == b'name\r\n""\r\n'


def test_what_tells_who_somebody_is_is_hidden_without_the_right(shop: Store):
    new_member(shop, FIRST + 21, name="Ada")
    (row,) = rows(exported(shop, "csv", "phone", "name", masked=True))
    assert row == {"phone": "+4915*******21", "name": "Ada"}
    assert masked_number(4915100000021) == "+4915*******21"


def test_a_reason_is_asked_for_when_it_tells_who(shop: Store):
    with shop.snapshot() as view:
        whole = Export(view, 1, ["phone", "visits"], "csv", masked=False)
        with pytest.raises(CommandRefused) as caught:
            whole.need_reason("  ")
        assert (caught.value.status, caught.value.code) == (422, "reason_missing")
        whole.need_reason("for the printer")
        Export(view, 1, ["visits"], "csv", masked=False).need_reason("")
        Export(view, 1, ["phone"], "csv", masked=True).need_reason("")
    note = NoteExport(expr="everyone", fields=["phone"], format="csv", masked=False)
    assert audit_reason("for the printer", note) == "for the printer [csv: phone; everyone]"


@pytest.mark.parametrize(
    ("names", "format", "code"), [(["nmae"], "csv", "unknown_field"), ([], "xls", "invalid_value")]
)
def test_a_wrong_choice_is_refused(shop: Store, names: list[str], format: str, code: str):
    with shop.snapshot() as view, pytest.raises(CommandRefused) as caught:
        Export(view, 1, names, format, masked=False)
    assert caught.value.code == code


def test_who_is_erased_while_it_runs_is_left_out(shop: Store):
    for at in range(3):
        new_member(shop, FIRST + at, visits=at)
    with shop.snapshot() as view:
        export = Export(view, 1, ["visits"], "csv", masked=False)
        ((block, bitmap, _),) = select(view, 1, compile_text(view, 1, "everyone"))
    do(shop, erase_member, EraseMember(member_no=1))
    new_member(shop, FIRST + 9, visits=9)
    with shop.snapshot() as view:
        assert export.block(view, block, bitmap) == b"0\r\n2\r\n"
    assert export.members == 2


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(
        st.tuples(
            st.none() | st.integers(-(1 << 31) + 1, (1 << 31) - 1),
            st.none() | st.sampled_from(["Bonn", "=Köln", "a,b", "'q"]),
            st.sets(st.sampled_from(["a", "b", "-c"])),
            st.none() | st.booleans(),
        ),
        max_size=6,
    ),
    fold=st.booleans(),
)
def test_a_fold_changes_nothing_of_what_is_written(tmp_path_factory, cells, fold):
    from dispatcher.store import open_store

    with open_store(tmp_path_factory.mktemp("s"), write=True, create=True, sync=False) as store:
        new_shop(store)
        for at, (visits, city, tags, vip) in enumerate(cells):
            new_member(store, FIRST + at, visits=visits, city=city, tags=sorted(tags), vip=vip)
            if fold and at % 2:
                with store.begin_write() as view:
                    view.apply(fold_some(view, 1))
        found = [json.loads(line) for line in exported(store, "ndjson").split(b"\n") if line]
    assert [(r["visits"], r["city"], set(r["tags"]), r["vip"]) for r in found] == cells
