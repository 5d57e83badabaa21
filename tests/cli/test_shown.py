"""What `show` prints: money with its currency, instants by the tenant's clock, spans and percentages; never a dict."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dispatcher.cli.shown import Reader, money, span

BERLIN = Reader(ZoneInfo("Europe/Berlin"), "EUR")


def lines(record: dict[str, Any]) -> list[list[str]]:
    return [line.split(None, 1) for line in BERLIN.lines(record)]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("budget_micros", 12_500_000, "12.50 EUR"),
        ("validity_s", 90_000, "1 day 1 h"),
        ("at_ms", 1_796_112_000_000, "2026-12-01T09:00:00+01:00"),
        ("started_at", "2026-07-01T08:00:00.000Z", "2026-07-01T10:00:00+02:00"),
        ("at", "2026-12-01T09:00", "2026-12-01T09:00"),  # of a schedule: in the zone that stands beside it
        ("percent", 12.5, "12.5 %"),
        ("count_change_percent", 5, "5 %"),
        ("per_s", 1_200, "1,200"),
        ("audience", 1_000_000, "1,000,000"),
        ("receipts", True, "yes"),
        ("can", ["edit", "start"], "edit, start"),
        ("text", "a\x1b[2J\nb", "a [2J b"),
    ],
)
def test_a_value_is_said_as_its_name_means_it(name, value, said):
    assert BERLIN.value(name, value) == said


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_what_is_empty_is_said_as_nothing(value):
    assert BERLIN.value("held", value) == ""


def test_records_inside_are_indented_and_of_a_list_each_has_a_line():
    record = {
        "schedule": {"at": "2026-12-01T09:00", "window": {"from": "09:00", "days": ["mo", "tu"]}},
        "arms": [{"name": "A", "share": 50, "text": ""}, {"name": "B", "share": 50, "text": "Hi"}],
        "history": [{"state": "draft", "at": "2026-12-01T08:00:00.000Z", "actor": "cli", "reason": ""}],
    }
    assert list(BERLIN.lines(record)) == [
        "schedule:",
        "  at:                  2026-12-01T09:00",
        "  window:",
        "    from:                09:00",
        "    days:                mo, tu",
        "arms:",
        "  name A, share 50 %",
        "  name B, share 50 %, text Hi",
        "history:",
        "  state draft, at 2026-12-01T09:00:00+01:00, actor cli",
    ]


def test_a_members_own_values_stay_as_they_are_whatever_their_names():
    record = {"values": {"price_micros": 5_000_000, "year": 2026, "tags": ["b", "a"], "name": None}}
    assert lines(record) == [["values:"], ["price_micros:", "5000000"], ["year:", "2026"], ["tags:", "b, a"], ["name:"]]


def test_money_has_every_decimal_it_has_and_two_at_least():
    said = [money(micros, "EUR") for micros in (0, 1, 75_000, -1_500_000, 1_234_000_000)]
    assert said == ["0.00 EUR", "0.000001 EUR", "0.075 EUR", "-1.50 EUR", "1,234.00 EUR"]
    assert money(2_000_000, "") == "2.00"


def test_a_span_is_in_the_units_of_a_person():
    assert [span(s) for s in (0, 59, 5_400, 259_200, -60)] == ["0 s", "59 s", "1 h 30 min", "3 days", "-1 min"]


def test_a_campaign_is_shown_by_the_tenants_clock_and_currency_and_json_as_ever(volley, data):
    tenant = volley("tenant", "create", "Shop", "--zone", "Asia/Shanghai", "--data", data).out.strip()
    volley("tenant", "edit", tenant, "--currency", "EUR", "--data", data)
    options = ["--budget", "12500000", "--cap", "2/604800", "--at", "2027-12-07T09:00", "--text", "Hi"]
    made = volley("campaign", "create", "Winter", *options, "--data", data).out.strip()
    plain = volley("campaign", "show", made, "--data", data).out
    assert [line.split(None, 1)[1] for line in plain.splitlines() if line.startswith("budget:")] == ["12.50 EUR"]
    assert "max 2, within 7 days" in plain and "+08:00" in plain
    assert not set("{}[]") & set(plain)
    told = volley("campaign", "show", made, "--data", data, "--json").json
    assert (told["budget_micros"], told["caps"]) == (12_500_000, [{"max": 2, "within_s": 604_800}])
    assert told["created_at"].endswith("Z")
