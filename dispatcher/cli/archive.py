"""volley campaign archive: an old campaign's details to a compressed file."""

from __future__ import annotations

import time
from typing import Any

import click

from dispatcher.cli.common import Call, common, id_of, of_tenant
from dispatcher.cli.talk import ask
from dispatcher.clock import SystemClock
from dispatcher.control.commands import ArchiveCampaign, AskStatus, Envelope
from dispatcher.store import open_store

WAIT_S = 0.2


@click.command("archive")
@click.argument("campaign", metavar="cmp_...")
@click.option("--no-wait", is_flag=True, help="Answer once it is asked for.")
@click.option("--reason", default="", help="Kept in the audit.")
@of_tenant
@common
def archive_command(call: Call, tenant: str | None, campaign: str, no_wait: bool, reason: str) -> None:
    """Move what is asked for once in a while of a campaign that is over to DATA/archive, as NDJSON under zstd.

    Totals, segments, effects and reports go on as before; recipients are read from the file. Example:

    \b
      volley campaign archive cmp_01J0000000000
      zstd -dc DATA/archive/cmp_01J0000000000.ndjson.zst | head
    """
    from dispatcher.apps.archive import kept

    number, which = call.tenant(tenant), id_of("cmp", campaign, "CAMPAIGN")
    reply = call.do(ArchiveCampaign(campaign=which), tenant=number, reason=reason)
    envelope = Envelope(tenant=0, actor="cli", at_ms=SystemClock().epoch_ms())
    if ask(call.settings, AskStatus(), envelope) is None:
        _archive_here(call, number, which)
    if no_wait and reply["archived_at"] is None:
        call.show(reply, "asked for")
        return
    while True:
        with call.reading() as view:
            found = kept(view, number, which)
        if found is not None:
            break
        time.sleep(WAIT_S)
    record: dict[str, Any] = {"id": campaign, **{name: found[name] for name in ("file", "octets", "recipients")}}
    call.show(record, f"{found['file']}: {found['recipients']:,} recipients, {found['octets']:,} octets")


def _archive_here(call: Call, tenant: int, campaign: int) -> None:
    """With no dispatcher running."""
    from dispatcher.apps.archive import drop_some, keep, kept, write

    now_ms = SystemClock().epoch_ms()
    with open_store(call.settings.data, write=True, sync=call.settings.store.sync) as store:
        with store.snapshot() as view:
            if kept(view, tenant, campaign) is not None:
                return
        written = write(store.snapshot, call.settings.data, tenant, campaign, now_ms)
        with store.begin_write() as view:
            view.apply(keep(view, tenant, campaign, written, now_ms))
        more = True
        while more:
            with store.begin_write() as view:
                changes, more = drop_some(view, tenant, campaign)
                view.apply(changes)
