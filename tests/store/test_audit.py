"""The audit's chain: whatever is done to an entry that is on disk is found, and named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.control.commands import CreateCampaign, CreateTenant, DefineField, EditCampaign, Envelope
from dispatcher.daemon.handlers import run_locally
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id
from dispatcher.store import Store, audit, open_store
from dispatcher.store.layout import U64
from dispatcher.store.values import pack, unpack
from dispatcher.store.verify import verify
from tests.store.make_schema_1 import FOLDER

Rows = list[tuple[bytes, bytes]]
OLD = 3  # entries that a version without seals has left


class Table:
    """A view of an audit alone, whose rows a test may change."""

    def __init__(self, rows: Rows, head: bytes | None) -> None:
        self.rows, self.head = rows, head

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.head if (table, key) == ("meta", audit.HEAD) else None

    def range(self, table: str, prefix: bytes = b"", *, after: bytes | None = None, reverse: bool = False) -> Any:
        return iter(sorted(self.rows, reverse=reverse))


def line(number: int) -> dict[str, Any]:
    return {"actor": f"key {number}", "command": "x", "reason": "why" * number, "tenant": 1, "at_ms": 1_000 + number}


def log(count: int) -> Table:
    """OLD entries without a seal, then `count` with."""
    table = Table([(U64.pack(n), pack(line(n))) for n in range(1, OLD + 1)], None)
    for number in range(OLD + 1, OLD + count + 1):
        changes = Changes()
        assert audit.append(table, changes, line(number)) == number
        table.rows.append((U64.pack(number), bytes(changes.rows["audit", U64.pack(number)])))
        head = changes.rows.get(("meta", audit.HEAD))
        table.head = None if head is None else bytes(head)
    return table


LOG = log(9)


def broken(rows: Rows) -> tuple[int, str] | None:
    return audit.check(Table(rows, LOG.head)).broken


def test_a_log_as_it_was_written_holds_and_tells_how_many_entries_have_no_seal():
    assert audit.check(LOG) == audit.Chain(12, OLD, 12, LOG.rows[-1][1][-32:])
    assert unpack(LOG.rows[OLD][1])["unsealed"] == OLD
    assert audit.check(Table([], None)) == audit.Chain(0, 0, 0, b"")
    assert audit.check(Table(LOG.rows[:OLD], None)).broken is None, "a log of the version before"


@settings(max_examples=400)
@given(at=st.integers(0, len(LOG.rows) - 1), octet=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_change_of_any_octet_of_any_entry_is_found(at: int, octet: int, flip: int):
    rows = list(LOG.rows)
    row = bytearray(rows[at][1])
    row[octet % len(row)] ^= flip
    rows[at] = rows[at][0], bytes(row)
    found = broken(rows)
    assert found is not None
    assert at < OLD or found[0] in (at + 1, at + 2), "the entry itself, or the one that no longer fits it"


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_an_entry_that_was_removed_inserted_cut_doubled_or_moved_is_found(data: st.DataObject):
    rows = list(LOG.rows)
    at = data.draw(st.integers(0, len(rows) - 1))
    other = data.draw(st.integers(0, len(rows) - 1).filter(lambda n: n != at))
    renumber: Callable[[list[bytes]], Rows] = lambda values: [(U64.pack(n), v) for n, v in enumerate(values, 1)]  # noqa: E731
    values = [value for _, value in rows]
    what = data.draw(st.sampled_from(["remove", "remove and renumber", "insert", "swap", "cut", "longer", "copy over"]))
    if what == "remove":
        del rows[at]
    elif what == "remove and renumber":
        del values[at]
        rows = renumber(values)
    elif what == "insert":
        values.insert(at, pack(line(99)) if data.draw(st.booleans()) else values[other])
        rows = renumber(values)
    elif what == "swap":
        values[at], values[other] = values[other], values[at]
        rows = renumber(values)
    elif what == "cut":
        rows = rows[: at or 1]
    elif what == "longer":
        rows[at] = rows[at][0], rows[at][1] + data.draw(st.binary(min_size=1, max_size=40))
    else:
        rows[at] = rows[at][0], rows[other][1]
    assert broken(rows) is not None, what


def test_what_was_sealed_anew_after_a_change_no_longer_is_what_was_noted():
    table = Table(LOG.rows[:-1], pack({"seq": 11, "seal": LOG.rows[-2][1][-32:]}))
    changes = Changes()
    audit.append(table, changes, line(99))
    forged = Table([*table.rows, (U64.pack(12), bytes(changes.rows["audit", U64.pack(12)]))], LOG.head)
    assert audit.check(forged).broken == (12, "the newest noted is 12, with another seal")


def test_commands_seal_themselves_and_verify_names_the_first_entry_that_does_not_hold(store: Store):
    for number in range(4):
        run(store, CreateTenant(title=f"Shop {number}"), tenant=0)
    with store.snapshot() as view:
        assert verify(view)["problems"] == []
        row = view.get("audit", U64.pack(2))
    assert row is not None
    changes = Changes()
    changes.put("audit", U64.pack(2), row.replace(b"test", b"rest"))
    store.apply(changes)
    with store.snapshot() as view:
        (problem,) = verify(view)["problems"]
    assert problem == "audit_is_sealed: entry 2: its seal does not fit its words and the seal before"


def test_a_newest_entry_that_was_cut_off_is_missed_by_its_number(store: Store):
    for number in range(3):
        run(store, CreateTenant(title=f"Shop {number}"), tenant=0)
    changes = Changes()
    changes.delete("audit", U64.pack(3))
    store.apply(changes)
    with store.snapshot() as view:
        assert audit.check(view).broken == (3, "not there; the newest noted is 3")


def test_an_edit_is_told_with_what_was_there_before_and_after(store: Store):
    run(store, CreateTenant(title="Shop", region="DE"), tenant=0)
    run(store, DefineField(title="name", kind="text"))
    made = run(store, CreateCampaign(title="Spring", text="Hello"))
    number = parse_public_id("cmp", made["id"])
    run(store, EditCampaign(campaign=number, changes={"title": "Summer", "text": "x" * 600, "max_parts": 5}))
    with store.snapshot() as view:
        last = audit.entry(view, 4)
        first = audit.entry(view, 1)
    assert last is not None and first is not None
    assert (last["command"], last["object"], last["reason"]) == ("campaign.edit", made["id"], "because")
    (edit,) = last["edits"]
    assert (edit["object"], edit["before"]["title"], edit["after"]["title"]) == (made["id"], "Spring", "Summer")
    assert edit["after"]["text"] == "x" * 500 + "…" and "purpose" not in edit["before"]
    assert "edits" not in first, "what is made is no edit"


def test_a_tenant_sees_its_own_entries_and_a_page_goes_on_where_it_ended(store: Store, monkeypatch: pytest.MonkeyPatch):
    for title in ("One", "Two"):
        run(store, CreateTenant(title=title), tenant=0)
    for number in range(6):
        run(store, DefineField(title=f"f{number}", kind="text"), tenant=1 + number % 2)
    with store.snapshot() as view:
        page, after = audit.newest_first(view, tenant=2, limit=2)
        assert ([n for n, _ in page], after) == ([8, 6], 6)
        assert audit.newest_first(view, tenant=2, before=after)[0][0][0] == 4
        assert [n for n, _ in audit.newest_first(view, command="tenant.")[0]] == [2, 1]
        monkeypatch.setattr(audit, "LOOKED_AT_ONCE", 3)
        assert audit.newest_first(view, tenant=0) == ([], 6), "a page that was all of others goes on"


def test_a_log_of_an_earlier_version_is_held_from_the_first_sealed_entry_on(tmp_path: Path):
    folder = shutil.copytree(FOLDER, tmp_path / "data")
    with open_store(folder, write=True, sync=False) as store:
        with store.snapshot() as view:
            old = audit.check(view)
            assert old.broken is None and old.entries == old.unsealed > 3 and not old.seal
        run(store, CreateTenant(title="New"), tenant=0)
        with store.snapshot() as view:
            assert audit.check(view).unsealed == old.entries
            row = view.get("audit", U64.pack(2))
        assert row is not None
        changes = Changes()
        changes.put("audit", U64.pack(2), pack(unpack(row) | {"reason": "another"}))
        store.apply(changes)
        with store.snapshot() as view:
            broken_at = audit.check(view).broken
    assert broken_at is not None and broken_at[0] == old.entries + 1, "the entry that seals all before it"


def run(store: Store, command: Any, tenant: int = 1) -> dict[str, Any]:
    envelope = Envelope(tenant=tenant, actor="test", at_ms=1_790_000_000_000, reason="because")
    return run_locally(store, command, envelope, 1_790_000_000_000)


@pytest.mark.parametrize("count", [1, 2])
def test_an_entry_that_loses_its_seal_breaks_the_log(count: int):
    table = log(count)
    key, value = table.rows[OLD]
    table.rows[OLD] = key, pack({k: v for k, v in unpack(value).items() if k != "seal"})
    assert audit.check(table).broken is not None
