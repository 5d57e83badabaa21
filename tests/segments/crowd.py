"""Members of one shop straight into blocks and delta rows, and what a rule means for one of them, said plainly."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from dispatcher.control.commands import DefineField
from dispatcher.members.attributes import encode
from dispatcher.members.fields import Field, define_field, fields_of
from dispatcher.records.changes import Changes
from dispatcher.segments import rule
from dispatcher.segments.rule import Node, Rule
from dispatcher.store import Store
from dispatcher.store.columns import (
    FLAGS,
    Column,
    ColumnKind,
    blocks_of,
    default_array,
    plane_entry,
    put_delta,
    slots_of,
    text_array,
    write_block,
)
from dispatcher.store.layout import BLOCK, PLANE_LIVE, PLANE_OPTOUT_MARKETING, PLANE_SUPPRESSED
from dispatcher.tenants.tenant import put_next_member_no
from tests.fakes.shop import do, new_shop

TIERS = ["basic", "gold"]
CITIES = ["Bonn", "Köln", "Mainz"]
BRANCHES = [f"B{n}" for n in range(300)]
TAGS = [f"t{n}" for n in range(10)]
PLANES = {"live": PLANE_LIVE, "suppressed": PLANE_SUPPRESSED, "stopped": PLANE_OPTOUT_MARKETING}


def new_crowd(store: Store) -> int:
    """A tenant with a field of every kind: the shop's, with dictionaries and tags that have values."""
    tenant = new_shop(store)
    for command in (
        DefineField(title="city", kind="dict", values=CITIES),
        DefineField(title="branch", kind="dict", values=BRANCHES, max_values=1_000),
        DefineField(title="tags", kind="tags", values=TAGS),
    ):
        do(store, define_field, command, tenant=tenant)
    return tenant


def settle(
    store: Store, tenant: int, people: dict[int, dict[str, Any]], edits: dict[int, dict[str, Any]], next_no: int
) -> None:
    """Replace everybody: `people` by member_no into blocks, then `edits` over them as delta rows.

    Values as the API has them, with phone as a number; live, suppressed and stopped are flags.
    """
    with store.begin_write() as view:
        fields = fields_of(view, tenant)
        changes = Changes()
        for table in ("blocks", "delta"):
            for key, _ in view.range(table):
                changes.delete(table, key)
        put_next_member_no(changes, view, tenant, next_no)
        for block in range(blocks_of(next_no)):
            slots = slots_of(next_no, block)
            here = {no % BLOCK: _entries(fields, one) for no, one in people.items() if no // BLOCK == block}
            columns = dict.fromkeys(column for entries in here.values() for column in entries)
            for column in columns:
                values = {slot: entries[column] for slot, entries in here.items() if column in entries}
                write_block(changes, tenant, *column[:2], block, column[2], slots, _array(column, values, slots))
        view.apply(changes)
        changes = Changes()
        for no, one in edits.items():
            put_delta(changes, view, tenant, no, _entries(fields, one))
        view.apply(changes)


def _entries(fields: dict[str, Field], one: dict[str, Any]) -> dict[Column, bytes]:
    found: dict[Column, bytes] = {}
    for name, value in one.items():
        if name == "phone":
            found[fields[name].columns[0]] = (value or 0).to_bytes(8, "little")
        elif name == "points":  # never edited directly, so encode() does not know it
            found[fields[name].columns[0]] = (-(1 << 63) if value is None else value).to_bytes(8, "little", signed=True)
        elif name not in PLANES:
            found |= encode(fields[name], value)[1]  # type: ignore[index]
    planes = {plane: one[name] for name, plane in PLANES.items() if name in one}
    return {**found, FLAGS: plane_entry(planes)} if planes else found


def _array(column: Column, values: dict[int, bytes], slots: int) -> bytes:
    if column[2] == ColumnKind.TEXT:
        return text_array([values.get(slot, b"") for slot in range(max(values) + 1)], slots)
    array = bytearray(default_array(column[2], slots))
    for slot, value in values.items():
        if column[2] == ColumnKind.PLANES:
            for plane in range(8):
                array[plane * slots // 8 + slot // 8] |= (value[1] >> plane & 1) << slot % 8
        else:
            array[slot * len(value) : (slot + 1) * len(value)] = value
    return bytes(array)


def chosen(found: Rule, people: dict[int, dict[str, Any]]) -> list[int]:
    """The member numbers that the rule means."""
    without = found.without
    numbers = [
        no
        for no, one in sorted(people.items())
        if one.get("live") and holds(found.who, one) and not (without and holds(without, one))
    ]
    return numbers[: found.limit]


def holds(node: Node, one: dict[str, Any]) -> bool:
    """Whether a rule holds for one member: None, an absent key and an empty text are unknown."""
    match node:
        case rule.Everyone():
            return True
        case rule.Not(part):
            return not holds(part, one)
        case rule.And(parts):
            return all(holds(part, one) for part in parts)
        case rule.Or(parts):
            return any(holds(part, one) for part in parts)
        case rule.Tags(names, every, lacks):
            has = [name.text in one.get("tags", []) for name in names]
            return (all(has) if every else any(has)) != lacks
        case rule.Is("tags", what):
            return bool(one.get("tags")) == (what == "known")
    value = one.get(node.name)  # type: ignore[union-attr]
    if isinstance(node, rule.Is) and node.what in ("known", "unknown"):
        return (value not in (None, "")) == (node.what == "known")
    if value in (None, ""):
        return False
    match node:
        case rule.Is(_, what):
            return bool(value == (what == "yes"))
        case rule.Compare(name, comparison, wanted):
            mine, theirs = _plain(name, value), _plain(name, wanted.text)
            return {
                "=": mine == theirs,
                "!=": mine != theirs,
                "<": mine < theirs,
                "<=": mine <= theirs,
                ">": mine > theirs,
                ">=": mine >= theirs,
            }[comparison]
        case rule.Between(name, low, high):
            return bool(_plain(name, low.text) <= _plain(name, value) <= _plain(name, high.text))
        case rule.OneOf(name, values, negated):
            return (_plain(name, value) in [_plain(name, wanted.text) for wanted in values]) != negated
        case rule.Text(name, how, wanted):
            mine = str(value)
            return {"contains": wanted.text in mine, "starts with": mine.startswith(wanted.text.lstrip("+"))}.get(
                how, mine.endswith(wanted.text)
            )
    raise AssertionError(node)


def _plain(name: str, value: Any) -> Any:
    """A member's value, or what a rule compares it with, as something Python compares."""
    if name in ("visits", "serial", "points", "phone"):
        return int(str(value).lstrip("+"))
    if name == "spend":
        return Decimal(value)
    return date.fromisoformat(value) if name == "joined" else value
