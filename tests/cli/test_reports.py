"""Reports as a person reads them: codes by their names, money only where there is a price."""

from typing import Any

from dispatcher.cli.reports import report_lines


def report(**parts: Any) -> dict[str, Any]:
    answers = [
        {"endpoint": "main", "what": "refused", "state": None, "error": 0x0B, "parts": 3},
        {"endpoint": "main", "what": "refused_for_now", "state": None, "error": 0x55F, "parts": 2},
        {"endpoint": "main", "what": "receipt", "state": "failed", "error": 12, "parts": 1},
    ]
    return {
        "title": "Spring", "state": "done", "as_of": "2026-09-21T14:13:20.000Z", "funnel": [], "skipped": {}, "unsent": 0, "pending": 0, "uncertain": 0,
        "delivery_s": {"count": 0}, "line": {"points": []}, "cost": None,
        "errors": [{"state": "failed", "error": 12, "recipients": 1}],
        "endpoints": {"complete": True, "data": answers},
    } | parts  # fmt: skip


def test_a_command_status_is_named_and_an_err_of_a_receipt_stays_decimal():
    lines = [line.split() for line in report_lines(report())]
    assert ["failed", "1", "12", "(0xC)"] in lines
    assert [line[2:] for line in lines if line[0] == "main"] == [
        ["refused", "ESME_RINVDSTADR"],
        ["refused", "for", "now", "0x0000055F"],
        ["receipt", "failed", "err", "012"],
    ]


def test_a_cost_is_told_only_where_there_is_a_price():
    cost = {"micros": 0, "currency": "", "billed": 30, "settled": True}
    assert "  no price is set: 30 parts, settled" in report_lines(report(cost=cost))
    assert "  cost 1.50 EUR for 30 parts, settled" in report_lines(
        report(cost=cost | {"micros": 1_500_000, "currency": "EUR"})
    )


def test_what_each_redeemed_coupon_cost_is_told_where_there_was_one():
    cost = {"micros": 1_500_000, "currency": "EUR", "billed": 30, "settled": True}
    told = list(report_lines(report(cost=cost | {"per_redemption_micros": 750_000})))
    assert "  0.75 EUR for each coupon redeemed" in told
    assert not any("coupon" in line for line in report_lines(report(cost=cost | {"per_redemption_micros": None})))
