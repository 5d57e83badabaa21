"""A saved segment's count, once a day of its tenant's calendar."""

from datetime import UTC, date, datetime

import pytest

from dispatcher.control.commands import CreateTenant, SaveSegment
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id
from dispatcher.segments.answers.daily import Due, counted, counts_of, due, record
from dispatcher.segments.segment import save_segment
from dispatcher.store.layout import TENANT_U64
from dispatcher.store.values import pack
from dispatcher.tenants.tenant import create_tenant
from tests.fakes.shop import do, new_member, new_shop


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOON = at("2026-03-01T12:00")


@pytest.fixture
def shop(store):
    new_shop(store)  # Europe/Berlin
    for index in range(3):
        new_member(store, 4915100000001 + index, tier="gold" if index else "basic")
    return store


def saved(store, title: str, expr: str) -> int:
    found = parse_public_id("seg", do(store, save_segment, SaveSegment(title=title, expr=expr))["id"])
    assert found is not None
    return found


def keep(store, one: Due, now_ms: int) -> None:
    with store.begin_write() as view:
        kept = counted(view, one, now_ms)
        if kept is not None:
            view.apply(record(view, one, kept))


def every_due(store, now_ms: int) -> list[Due]:
    """What would be counted one after the other; nothing of it stays."""
    found: list[Due] = []
    with pytest.raises(_Undone), store.begin_write() as view:
        while one := next(due(view, now_ms), None):
            found.append(one)
            view.apply(record(view, one, {"matched": 0, "reachable": 0, "at_ms": now_ms, "version": 1}))
        raise _Undone
    return found


class _Undone(Exception):
    pass


def test_each_segment_is_due_once_a_local_day_after_three(shop):
    gold, basic = saved(shop, "Gold", 'tier = "gold"'), saved(shop, "Basic", 'tier = "basic"')
    assert {one.segment for one in every_due(shop, NOON)} == {gold, basic}
    assert every_due(shop, at("2026-03-01T01:59")) == []  # 02:59 in Berlin
    (first, second) = every_due(shop, at("2026-03-01T02:00"))
    keep(shop, first, NOON)
    assert every_due(shop, NOON) == [second]
    keep(shop, second, NOON)
    assert every_due(shop, at("2026-03-01T22:59")) == []
    with shop.snapshot() as view:
        assert list(due(view, at("2026-03-02T02:00"), hour=9)) == []
    assert len(every_due(shop, at("2026-03-02T02:00"))) == 2


def test_counts_are_read_by_day(shop):
    gold = saved(shop, "Gold", 'tier = "gold"')
    for day in ("2026-03-01", "2026-03-02", "2026-03-05"):
        (one,) = every_due(shop, at(f"{day}T12:00"))
        keep(shop, one, at(f"{day}T12:00"))
        new_member(shop, 4915200000000 + int(day[-1]), tier="gold")

    def read(**between):
        with shop.snapshot() as view:
            return [(row["day"], row["matched"]) for row in counts_of(view, 1, gold, **between)]

    assert read() == [("2026-03-01", 2), ("2026-03-02", 3), ("2026-03-05", 4)]
    assert read(begin=date(2026, 3, 2)) == read()[1:]
    assert read(begin=date(2026, 3, 2), end=date(2026, 3, 4)) == read()[1:2]
    assert read(begin=date(1900, 1, 1), end=date(1960, 1, 1)) == []
    with pytest.raises(CommandRefused, match="before"):
        read(begin=date(2026, 3, 2), end=date(2026, 3, 1))
    with shop.snapshot() as view, pytest.raises(CommandRefused, match="no such segment"):
        counts_of(view, 1, gold + 1)


def test_a_rule_that_can_no_longer_be_counted_is_kept_as_refused(shop):
    gold = saved(shop, "Gold", 'tier = "gold"')
    changes = Changes()
    changes.put("segments", TENANT_U64.pack(1, gold), pack({"name": "Gold", "expr": "teir is known", "version": 2}))
    shop.apply(changes)
    (one,) = every_due(shop, NOON)
    keep(shop, one, NOON)
    assert every_due(shop, NOON) == []
    with shop.snapshot() as view:
        (row,) = counts_of(view, 1, gold)
    assert (row["matched"], row["refused"], row["version"]) == (None, "unknown_field", 2)


def test_of_a_segment_deleted_meanwhile_nothing_is_kept(shop):
    gold = saved(shop, "Gold", 'tier = "gold"')
    (one,) = every_due(shop, NOON)
    with shop.snapshot() as view:
        kept = counted(view, one, NOON)
    changes = Changes()
    changes.delete("segments", TENANT_U64.pack(1, gold))
    shop.apply(changes)
    with shop.snapshot() as view:
        assert kept is not None
        assert not record(view, one, kept)
        assert counted(view, one, NOON) is None


def test_each_tenant_has_its_own_night(shop):
    do(shop, create_tenant, CreateTenant(title="Auckland", zone="Pacific/Auckland"), tenant=0)
    do(shop, save_segment, SaveSegment(title="All", expr="everyone"), tenant=2)
    saved(shop, "All", "everyone")
    assert [one.tenant for one in every_due(shop, at("2026-02-28T14:30"))] == [1, 2]  # 03:30 there, the day after
    assert [one.tenant for one in every_due(shop, at("2026-02-28T13:30"))] == [1]
