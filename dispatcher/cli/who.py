"""Which member a word on the command line means, and a long change to members followed to its end.

Touches: the store, read-only; with no dispatcher running, the writer's lock and the job's slices.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from config import Settings
from dispatcher.clock import SystemClock
from dispatcher.errors import CommandRefused, StoreLocked
from dispatcher.records import View
from dispatcher.records.keys import parse_member_id, public_member_id
from dispatcher.store import open_store

LOOK_S = 0.2


def member_no_of(view: View, tenant: int, text: str) -> int:
    """By id or number; whoever was merged is who took over, which is said. Raises CommandRefused 404."""
    from dispatcher.members.aliases import alias_of, merged_into
    from dispatcher.members.msisdn import normalise
    from dispatcher.store.columns import find_number
    from dispatcher.tenants.tenant import get_tenant

    member_no = parse_member_id(text)
    if member_no is not None:
        into = merged_into(view, tenant, member_no)
        if into is None:
            return member_no
        click.echo(f"{text} was merged into {public_member_id(into)}", err=True)
        return into
    owner = get_tenant(view, tenant)
    msisdn = normalise(text, owner.region if owner else "")
    if isinstance(msisdn, int):
        member_no = find_number(view, tenant, msisdn)
        if member_no is None:
            member_no = alias_of(view, tenant, msisdn)
    if member_no is None:
        raise unknown_member(text)
    return member_no


def unknown_member(text: str) -> CommandRefused:
    return CommandRefused(404, "not_found", f"no member {text!r} in this tenant")


def finish_job(
    settings: Settings, tenant: int, job_id: int, watch: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any] | None:
    """A bulk edit's or an erasure's row once it is over, None where nothing is left of it.

    With a dispatcher running it is the one who works; else it is done here. An erasure may have to wait for an
    answer to expire: then its row comes back as it is.
    """
    while True:
        try:
            with open_store(settings.data, write=True, sync=settings.store.sync) as store:
                return _finish_here(store, tenant, job_id, watch)
        except StoreLocked:
            pass
        row = _row(settings, tenant, job_id)
        if row is None or row["state"] != "applying" or row["kind"] == "erase":
            return row
        if watch is not None:
            watch(row)
        time.sleep(LOOK_S)


def _finish_here(
    store: Any, tenant: int, job_id: int, watch: Callable[[dict[str, Any]], None] | None
) -> dict[str, Any] | None:
    from dispatcher.members.edit_jobs import job_of
    from dispatcher.members.importer import read_import

    clock = SystemClock()
    with store.snapshot() as view:
        row = read_import(view, tenant, job_id)
    job = job_of(tenant, job_id, row) if row is not None else None
    while job is not None:
        with store.begin_write() as view:
            changes = job.next_slice(view, clock.epoch_ms())
            if changes is not None:
                view.apply(changes)
        with store.snapshot() as view:
            row = read_import(view, tenant, job_id)
        if changes is None:
            break
        if watch is not None and row is not None:
            watch(row)
    return row


def _row(settings: Settings, tenant: int, job_id: int) -> dict[str, Any] | None:
    from dispatcher.members.importer import read_import

    with open_store(settings.data) as store, store.snapshot() as view:
        return read_import(view, tenant, job_id)
