"""What names a field: saved segments, campaigns, imports under way; and the changes to a field that they limit.

Touches: rows of `fields`, and where a field is renamed those of `segments` and `campaigns` in the same commit.
A field goes by its name in rules, texts and arms, so a new name is written into each of them, also of campaigns that
run: what is sent stays the same. Campaigns that are over keep the words they were written in. A field is retired,
or a word of it changed, only when nothing names it any more; the refusal lists what does.
Weak spot: every campaign's row is read, some 10 us each, in the writer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dispatcher.campaigns.campaign import LATER, fingerprint, save
from dispatcher.campaigns.template import COUPON_NAME, MAX_CHARACTERS
from dispatcher.control.commands import EditField, Envelope, RetireField
from dispatcher.errors import CommandRefused
from dispatcher.members.field_edits import edited, imports_under_way
from dispatcher.members.fields import Field, fields_of, need_field, put_field, shown
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import CampaignState
from dispatcher.segments.names import names_in, rename_in
from dispatcher.segments.rule import quote
from dispatcher.segments.segment import list_segments, rename_field
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.values import unpack
from dispatcher.tenants.tenant import need_tenant

OVER = (CampaignState.DONE, CampaignState.CANCELLED)
SHOWN_MAX = 100  # of what is listed in a refusal
_PLACE = re.compile(r"\{\{|\}\}|(\{\s*)(\w+)")


def edit_field(view: View, command: EditField, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Change a field; everything that names it follows a new name. Safe to repeat under the new name."""
    need_tenant(view, envelope.tenant)
    fields = fields_of(view, envelope.tenant)
    field = need_field(view, envelope.tenant, command.title)
    made = edited(fields, field, command.changes)
    changes = Changes()
    if made == field:
        return changes, shown(field)
    if made.name != field.name:
        _refuse_while(imports_under_way(view, envelope.tenant, field.name), field, "renamed", "imports")
        _rename(view, changes, envelope, fields, field.name, made.name)
    if made.values[: len(field.values)] != field.values:
        _refuse_while(imports_under_way(view, envelope.tenant, field.name), field, "given other words", "imports")
        for old, new in zip(field.values, made.values, strict=False):
            if old != new:
                _refuse_while(
                    _naming(view, envelope.tenant, fields, field.name, old), field, f"without {old!r}", "rules"
                )
    if made.column != field.column:
        _refuse_while(imports_under_way(view, envelope.tenant), field, "widened", "imports")
    put_field(changes, envelope.tenant, made)
    return changes, shown(made)


def retire_field(view: View, command: RetireField, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Hide a field from rules, imports and texts; its members' values are kept, its name is free again."""
    need_tenant(view, envelope.tenant)
    field = need_field(view, envelope.tenant, command.title)
    _refuse_while(imports_under_way(view, envelope.tenant, field.name), field, "retired", "imports")
    users = _naming(view, envelope.tenant, fields_of(view, envelope.tenant), field.name)
    _refuse_while(users, field, "retired", "segments and campaigns")
    changes = Changes()
    retired = replace(field, retired=True)
    put_field(changes, envelope.tenant, retired)
    return changes, shown(retired)


def names_in_text(text: str) -> set[str]:
    """The fields that a campaign's text shows."""
    return {found[2] for found in _PLACE.finditer(text) if found[2]}


def rename_in_text(text: str, old: str, new: str) -> str:
    """A campaign's text with `{old}` as `{new}`, its fallbacks and braces as they are."""
    return _PLACE.sub(lambda found: found[1] + new if found[2] == old else found[0], text)


def _naming(view: View, tenant: int, fields: Mapping[str, Field], name: str, word: str | None = None) -> list[str]:
    """What names the field, and where given the word too, in a rule; texts show fields and name no word."""
    quoted = None if word is None else quote(word)

    def named(expr: str) -> bool:
        try:
            return name in names_in(expr, fields) and (quoted is None or quoted in expr)
        except CommandRefused:  # a text that is no rule any more names nothing
            return False

    found = [f"segment {row['title']!r} ({row['id']})" for row in list_segments(view, tenant) if named(row["expr"])]
    for campaign, row in _unfinished(view, tenant):
        if named(row["canonical"]) or (word is None and (name == row["stratify"] or name in _in_texts(row))):
            found.append(f"campaign {row['title']!r} ({public_id('cmp', campaign)}), {row['state']}")
    return found


def _unfinished(view: View, tenant: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for key, value in view.range("campaigns", TENANT.pack(tenant)):
        row = LATER | unpack(value)
        if row["state"] not in OVER:
            yield TENANT_U64.unpack(key)[1], row


def _rename(view: View, changes: Changes, envelope: Envelope, fields: Mapping[str, Field], old: str, new: str) -> None:
    """The new name into every saved segment and every campaign that is not over. Raises CommandRefused 409."""
    tenant = envelope.tenant
    rename_field(view, changes, tenant, old, new, at_ms=envelope.at_ms, actor=envelope.actor)
    for campaign, row in _unfinished(view, tenant):
        renamed = {**row, **_renamed_texts(row, old, new)}
        if max(len(text) for text in _texts(renamed)) > MAX_CHARACTERS:
            detail = f"the text of campaign {row['title']!r} would be longer than {MAX_CHARACTERS} characters"
            raise CommandRefused(409, "field_in_use", detail)
        for name in ("expr", "canonical"):
            renamed[name] = _renamed_rule(row, row[name], old, new, fields)
        if renamed != row:
            if row["preview"]:
                renamed["preview"] = _stands_still(row, renamed)
            changes.merge(save(tenant, campaign, renamed))


def _texts(row: dict[str, Any]) -> list[str]:
    return [row["text"], *(arm["text"] for arm in row["arms"])]


def _in_texts(row: dict[str, Any]) -> set[str]:
    """The fields that a campaign's texts show; of one with a coupon pool `{coupon}` is none."""
    names = set[str]().union(*map(names_in_text, _texts(row)))
    return names if row["coupon_pool"] is None else names - {COUPON_NAME}


def _renamed_texts(row: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """What of a row says a field's name beside its rule. Raises CommandRefused 409 where `{coupon}` is the pool's."""
    stratify = {"stratify": new} if row["stratify"] == old else {}
    if old not in _in_texts(row):
        return stratify
    if new == COUPON_NAME and row["coupon_pool"] is not None:
        detail = f"in campaign {row['title']!r}, which has a coupon pool, {{{COUPON_NAME}}} is a member's code"
        raise CommandRefused(409, "field_in_use", detail)
    arms = [{**arm, "text": rename_in_text(arm["text"], old, new)} for arm in row["arms"]]
    return {"text": rename_in_text(row["text"], old, new), "arms": arms, **stratify}


def _renamed_rule(row: dict[str, Any], expr: str, old: str, new: str, fields: Mapping[str, Field]) -> str:
    try:
        return rename_in(expr, old, new, fields) or expr
    except CommandRefused as exc:
        if exc.status == 409:  # `in region` and a derived age stand on their field's name
            raise CommandRefused(409, exc.code, f"in campaign {row['title']!r}: {exc.detail}") from exc
        return expr  # a text that is no rule any more names nothing


def _stands_still(row: dict[str, Any], renamed: dict[str, Any]) -> dict[str, Any]:
    """The preview of a row whose words changed and whose octets and members did not: it holds where it held."""
    before, after, held = fingerprint(row), fingerprint(renamed), row["preview"]["fingerprint"]
    still = {name: after[name] if held[name] == before[name] else held[name] for name in held}
    return {**row["preview"], "fingerprint": still}


def _refuse_while(users: list[str], field: Field, what: str, kind: str) -> None:
    if users:
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        detail = f"field {field.name!r} cannot be {what} while {kind} use it: {', '.join(users[:3])}{more}"
        extra = {"used_by": users[:SHOWN_MAX]}
        raise CommandRefused(409, "field_in_use", detail, extra=extra)
