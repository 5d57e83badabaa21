"""Two values of a dictionary made one: members get the other value in slices, whoever still says the first means it.

Touches: what a bulk edit touches (apps/bulk.py), and the field's row. From the commit on that begins the work the first
word stands for the other in what is imported, set and asked; its code stays its own, so that the work can be undone
as a bulk edit can (`:undo` of the import), after which `into` "" lets the word stand for itself again. Sources of
values stay who they were, and rank nothing here: it is a correction of words.
Weak spot: an undo of an import from before gives members the first code again, which then no word asks for: merge anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dispatcher.apps.bulk import meant
from dispatcher.control.commands import EditMembers, Envelope, MergeValues
from dispatcher.errors import CommandRefused
from dispatcher.members.bulk import freeze, put_job
from dispatcher.members.fields import Field, need_field, put_field
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.segments.rule import quote
from dispatcher.store.ids import next_id
from dispatcher.tenants.tenant import need_tenant


def merge_values(view: View, command: MergeValues, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """{field, value, into, matched}, and of the work {id, job, state}; with dry_run nothing is written.

    Raises CommandRefused 404 for no such field, 409 for one that is no dictionary, 422 for values that it has not.
    """
    tenant = need_tenant(view, envelope.tenant).number
    field = need_field(view, tenant, command.title)
    if field.kind != "dict":
        raise CommandRefused(
            409, "state_conflict", f"field {field.name!r} is of kind {field.kind}: only a dict's merge"
        )
    if not command.into:
        return _apart(tenant, field, command)
    _check(field, command)
    wanted = EditMembers(expr=f"{field.name} = {quote(command.value)}", values={field.name: command.into})
    edit, text, blocks = meant(view, tenant, wanted, envelope.at_ms)
    edit.names.clear()  # so that sources neither rank nor change
    matched = sum(count for _, _, count in blocks)
    reply: dict[str, Any] = {"field": field.name, "value": command.value, "into": command.into, "matched": matched}
    if command.dry_run:
        return Changes(), {**reply, "dry_run": True}
    changes = Changes()
    job_id = next_id(changes, view, envelope.at_ms)
    freeze(changes, job_id, blocks)
    row = {"expr": text, "of": matched, "actor": envelope.actor, "reason": envelope.reason}
    put_job(changes, tenant, job_id, {**row, "created_ms": envelope.at_ms, "updated_ms": envelope.at_ms}, edit)
    pairs = [(word, command.into if meaning == command.value else meaning) for word, meaning in field.merged]
    put_field(changes, tenant, replace(field, merged=(*pairs, (command.value, command.into))))
    return changes, {**reply, "id": public_id("imp", job_id), "job": job_id, "state": "applying"}


def _apart(tenant: int, field: Field, command: MergeValues) -> tuple[Changes, dict[str, Any]]:
    if command.value not in dict(field.merged):
        raise _wrong(
            "value", command.value, f"merged into nothing; merged are: {', '.join(dict(field.merged)) or 'none'}"
        )
    changes = Changes()
    left = tuple(pair for pair in field.merged if pair[0] != command.value)
    if not command.dry_run:
        put_field(changes, tenant, replace(field, merged=left))
    return changes, {"field": field.name, "value": command.value, "into": None, "matched": 0}


def _check(field: Field, command: MergeValues) -> None:
    for name, word in (("value", command.value), ("into", command.into)):
        if word not in field.values:
            raise _wrong(name, word, f"field {field.name} has no such value")
        if word in dict(field.merged):
            raise _wrong(name, word, f"merged into {dict(field.merged)[word]!r} already")
    if command.value == command.into:
        raise _wrong("into", command.into, "the same value")


def _wrong(name: str, word: str, rule: str) -> CommandRefused:
    detail = f"{name} {word!r}: {rule}"
    errors = [{"pointer": f"/{name}", "code": "wrong_value", "detail": detail}]
    return CommandRefused(422, "invalid_value", detail, errors=errors)
