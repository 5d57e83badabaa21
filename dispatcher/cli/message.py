"""volley message: single messages from the shell."""

from __future__ import annotations

from typing import Any

import click

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.cli.message_options import with_options
from dispatcher.clock import SystemClock
from dispatcher.control.commands import SendMessages
from dispatcher.errors import CommandRefused
from dispatcher.records.states import Purpose

FOUND = ("endpoint", "kind", "campaign", "id", "member", "part", "state", "final_at")
COLUMNS = ("id", "created_at", "to", "purpose", "state", "why", "parts")


@click.group("message")
def message_group() -> None:
    """Single messages: send, show, find by the SMSC's id, list."""


@message_group.command("send")
@click.argument("to")
@click.argument("text")
@click.option(
    "--purpose", type=click.Choice([purpose.value for purpose in Purpose]), default="transactional", show_default=True
)
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="TEXT is a template; may be repeated.")
@click.option("--validity-s", type=click.IntRange(1), help="An otp's is 600, others' two days, unless given.")
@click.option("--send-at", metavar="INSTANT", help="With its zone, as 2026-11-24T09:00:00+01:00; now unless given.")
@click.option("--ref", help="Comes back with the message.")
@click.option("--sender", help="source_addr; the tenant's unless given.")
@of_tenant
@common
@with_options
def send_message_command(
    call: Call,
    tenant: str | None,
    to: str,
    text: str,
    purpose: str,
    variables: tuple[str, ...],
    validity_s: int | None,
    send_at: str | None,
    ref: str | None,
    sender: str | None,
    options: dict[str, Any] | None,
) -> None:
    """Send TEXT to the number TO. Examples:

    \b
      volley message send +8613800000000 "Your code is 4711" --purpose otp
      volley message send +8613800000000 "Water is off until noon" --flash --replace-type 1
      volley message send +33612345678 "See you at ten" --send-at 2026-11-24T09:00:00+01:00
    """
    asked: dict[str, Any] = {"to": to, "purpose": purpose, "validity_s": validity_s, "ref": ref, "sender": sender}
    asked |= {"options": options, "send_at": send_at}
    if variables:
        wrong = next((pair for pair in variables if "=" not in pair), None)
        if wrong is not None:
            raise click.UsageError(f"--var {wrong!r}: NAME=VALUE")
        asked |= {"template": text, "vars": dict(pair.split("=", 1) for pair in variables)}
    else:
        asked["text"] = text
    message = {name: value for name, value in asked.items() if value is not None}
    reply = call.do(SendMessages(messages=[message]), tenant=call.tenant(tenant))
    (result,) = reply["results"]
    words = {"sent": "accepted", "waiting": f"waits until {result['due_at']}"}
    word = words.get(result["decision"], f"not sent: {result['decision'].replace('_', ' ')}")
    call.show(result, f"{result['id']}  {word}, {result['parts']} part{'s' * (result['parts'] > 1)}")


@message_group.command("show")
@click.argument("message")
@of_tenant
@common
def show_message_command(call: Call, tenant: str | None, message: str) -> None:
    """What was asked of MESSAGE (msg_...) and what became of it."""
    from dispatcher.apps.messages_shown import get_message
    from dispatcher.tenants.tenant import need_tenant

    number = call.tenant(tenant)
    with call.reading() as view:
        shown, of = get_message(view, number, message, SystemClock().epoch_ms()), need_tenant(view, number)
    if shown is None:
        raise CommandRefused(404, "not_found", f"there is no message {message[:40]!r}")
    call.show(shown, of=of)


@message_group.command("find")
@click.argument("message_id")
@of_tenant
@common
def find_message_command(call: Call, tenant: str | None, message_id: str) -> int:
    """Whose MESSAGE_ID is, as the SMSC's operator writes it; exit status 1 when nobody had it. Examples:

    \b
      volley message find 4A3F2201
      volley message find 0000123456 --json
    """
    from dispatcher.apps.messages_found import who_had

    number, settings = call.tenant(tenant), call.settings
    mixed = [endpoint.name for endpoint in settings.endpoints if endpoint.receipt_ids != "same"]
    with call.reading() as view:
        rows = who_had(view, number, message_id, mixed, SystemClock().epoch_ms(), folder=settings.data)
    call.show_rows(FOUND, rows, tenant=number)
    return 0 if rows else 1


@message_group.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@of_tenant
@common
def list_messages_command(call: Call, tenant: str | None, limit: int) -> None:
    """The newest first."""
    from dispatcher.apps.messages_shown import list_messages

    number = call.tenant(tenant)
    with call.reading() as view:
        rows = list_messages(view, number, limit, SystemClock().epoch_ms())
    call.show_rows(COLUMNS, [shown for _, shown in rows], tenant=number)
