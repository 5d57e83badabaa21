"""volley money, price, usage: a tenant's credit, what a part costs, what was used."""

from __future__ import annotations

import click

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.cli.shown import money
from dispatcher.clock import SystemClock
from dispatcher.control.commands import SetPrices, TopUp


@click.group("money")
def money_group() -> None:
    """Credit of a tenant: topped up, reserved at a start, settled at the end. In micro-units of its currency."""


@money_group.command("top-up")
@click.argument("micros", type=int)
@click.option("--reason", default="", help="Kept with the entry.")
@of_tenant
@common
def top_up_command(call: Call, tenant: str | None, micros: int, reason: str) -> None:
    """Give credit; below 0 it is taken back. Example (50 units):

    \b
      volley money top-up 50000000 --reason "invoice 1032"
    """
    from dispatcher.tenants.tenant import need_tenant

    number = call.tenant(tenant)
    reply = call.do(TopUp(micros=micros, why=reason), tenant=number, reason=reason)
    with call.reading() as view:
        currency = need_tenant(view, number).currency
    call.show(reply, f"balance {money(reply['balance'], currency)}, reserved {money(reply['reserved'], currency)}")


@money_group.command("ledger")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@of_tenant
@common
def ledger_command(call: Call, tenant: str | None, limit: int) -> None:
    """Entries of the credit, the newest first."""
    from dispatcher.campaigns.money import entries, entry_json

    number = call.tenant(tenant)
    with call.reading() as view:
        rows = [entry_json(entry, row) for entry, row in entries(view, number, limit=limit)]
    if not call.json:
        rows = [{**row, "balance_micros": row["balance"], "reserved_micros": row["reserved"]} for row in rows]
    columns = ["at", "kind", "micros", "balance_micros", "reserved_micros", "campaign", "reason"]
    call.show_rows(columns, rows, tenant=number)


@click.group("price")
def price_group() -> None:
    """What a billed part costs, by prefix of the number (the longest one counts) and endpoint."""


@price_group.command("set")
@click.argument("prices", nargs=-1, required=True, metavar="PREFIX=MICROS...")
@click.option("--operator", is_flag=True, help="For every tenant that has no price of its own.")
@of_tenant
@common
def set_price_command(call: Call, tenant: str | None, operator: bool, prices: tuple[str, ...]) -> None:
    """Set prices in micro-units; `=MICROS` is every other number, `PREFIX=` takes one away; `ENDPOINT:PREFIX=MICROS` is
    what goes by that endpoint. Examples:

    \b
      volley price set --operator =75000 49=62000 4915=58000
      volley price set --operator main:49=55000 spare:=90000
    """
    wanted: dict[str, int | None] = {}
    for text in prices:
        prefix, equals, micros = text.partition("=")
        if not equals or not (micros == "" or micros.isdecimal()):
            raise click.UsageError(f"{text!r}: as 49=62000, micro-units a part")
        wanted[prefix.removeprefix("+")] = int(micros) if micros else None
    reply = call.do(SetPrices(prices=wanted), tenant=0 if operator else call.tenant(tenant))
    call.show(reply, f"{len(wanted):,} set; previews from before are not good for a start any more")


@price_group.command("list")
@of_tenant
@common
def list_prices_command(call: Call, tenant: str | None) -> None:
    """The tenant's own prices and the operator's that hold beside them."""
    from dispatcher.campaigns.price import prices_json

    number = call.tenant(tenant)
    with call.reading() as view:
        found = prices_json(view, number)
    rows = [
        {"prefix": prefix or "all others", "micros": micros, "whose": whose}
        for whose, prices in found.items()
        for prefix, micros in sorted(prices.items())
    ]
    call.show_rows(["prefix", "micros", "whose"], rows, tenant=number)


@click.command("usage")
@click.option("--month", metavar="2026-11", help="This one unless given.")
@of_tenant
@common
def usage_command(call: Call, tenant: str | None, month: str | None) -> None:
    """Messages, parts and money of a month, and what is left of the plan. Example:

    \b
      volley usage --month 2026-11 --json
    """
    from dispatcher.campaigns.money import quotas_json
    from dispatcher.campaigns.usage import month_of, usage_json
    from dispatcher.tenants.tenant import need_tenant

    number, now_ms = call.tenant(tenant), SystemClock().epoch_ms()
    with call.reading() as view:
        of = need_tenant(view, number)
        if month is None:
            asked = month_of(now_ms, of.zone)
        else:
            year, _, rest = month.partition("-")
            if not (year.isdecimal() and rest.isdecimal() and 2000 <= int(year) < 2100 and 1 <= int(rest) <= 12):
                raise click.UsageError(f"--month {month!r}: a month such as 2026-11")
            asked = 12 * int(year) + int(rest) - 1
        found = {**usage_json(view, number, asked), "plan": quotas_json(view, of, now_ms)}
    if call.json:
        call.show(found)
        return
    settled = "" if found["settled"] else ", some of it reserved and not settled yet"
    used = f"{found['messages']:,} messages, {found['parts']:,} parts, {found['billed']:,} billed"
    click.echo(f"{found['month']}: {used}, {money(found['micros'], of.currency)}{settled}")
    rows = [*found["campaigns"], *({**one, "campaign": f"messages, {one['purpose']}"} for one in found["singles"])]
    call.show_rows(["campaign", "messages", "parts", "billed", "micros", "settled"], rows, tenant=number)
