"""volley tenant, volley key: who may use this installation."""

from __future__ import annotations

from typing import Any

import click

from dispatcher.cli.common import Call, common, id_of, tenant_id
from dispatcher.cli.init import make_key
from dispatcher.control.commands import CreateTenant, EditTenant, RegisterSignature, RevokeKey
from dispatcher.records.keys import public_id


@click.group("tenant")
def tenant_group() -> None:
    """Tenants: whose members, campaigns and points are kept apart."""


@tenant_group.command("create")
@click.argument("name")
@click.option("--zone", default="UTC", show_default=True, help="IANA time zone of its dates.")
@click.option("--region", default="", help="ISO 3166 region of numbers without a country code.")
@click.option("--sender", default="", help="source_addr of its messages.")
@click.option("--brand", default="", help="Named in the STOP confirmation; NAME unless given.")
@click.option(
    "--leap-rule",
    type=click.Choice(["feb28", "mar1", "leap"]),
    default="feb28",
    show_default=True,
    help="When somebody born on 29 February has a birthday in other years; leap: not at all.",
)
@click.option("--market", "market_profile", default="none", show_default=True, help="`volley profile list`.")
@common
def create_tenant_command(call: Call, name: str, **parts: str) -> None:
    """Make a tenant; prints its id."""
    command = CreateTenant(title=name, **parts)
    reply = call.do(command, tenant=0)
    call.show(reply, str(reply["id"]))


@tenant_group.command("edit")
@click.argument("tenant", metavar="ten_...|TITLE")
@click.option("--title", metavar="NAME", help="What it is called.")
@click.option("--zone", help="IANA time zone of its dates; campaigns keep that of their schedule, and are named.")
@click.option("--region", help="ISO 3166 region of numbers read from now on; '' for none.")
@click.option("--sender", help="source_addr of its new drafts.")
@click.option("--brand", help="Named in the STOP confirmation.")
@click.option(
    "--approval-above", type=click.IntRange(0), metavar="MESSAGES", help="Above, somebody else approves; 0: never."
)
@click.option("--count-change-percent", type=click.IntRange(0), help="A scheduled campaign further off is held.")
@click.option(
    "--leap-rule", type=click.Choice(["feb28", "mar1", "leap"]), help="As of tenant add: who was born 29 Feb."
)
@click.option("--market", "market_profile", metavar="NAME", help="Its market profile: `volley profile list`.")
@click.option("--signature", help="Who its texts say that they are from; '' for nobody.")
@click.option("--zone-field", metavar="FIELD", help="Where a member's own IANA zone stands; '' for by the number.")
@click.option(
    "--cap",
    "caps",
    multiple=True,
    metavar="GROUP:MAX/SECONDS",
    help="Messages to one number, as marketing:2/604800, beside those of the market; repeatable; `none` for none.",
)
@click.option("--rate", type=click.IntRange(0), metavar="PARTS/S", help="Of its plan; 0: no limit.")
@click.option("--parts-month", type=click.IntRange(0), metavar="PARTS", help="Of its plan; 0: no limit.")
@click.option("--prepaid/--postpaid", default=None, help="Whether it sends on credit alone: `volley money`.")
@click.option("--currency", metavar="EUR", help="Of its prices and credit.")
@common
def edit_tenant_command(call: Call, tenant: str, caps: tuple[str, ...], **changes: Any) -> None:
    """Change a tenant's names and the rules that its campaigns are held against. Example:

    \b
      volley tenant edit ten_0000000000001 --approval-above 10000
      volley tenant edit ten_0000000000001 --market fr --cap marketing:2/604800
      volley tenant edit ten_0000000000001 --zone Europe/Paris --region FR
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if caps:
        given["caps"] = [_cap(text) for text in caps if text != "none"]
    if not given:
        raise click.UsageError("say what to change")
    reply = call.do(EditTenant(changes=given), tenant=call.tenant(tenant))
    if not call.json:
        for warning in reply.pop("warnings"):
            click.echo(f"note: {warning}", err=True)
    call.show(reply)


def _cap(text: str) -> dict[str, Any]:
    group, _, rest = text.partition(":")
    most, _, within_s = rest.partition("/")
    if not most.isdecimal() or not within_s.isdecimal():
        raise click.UsageError(f"--cap {text!r}: as marketing:2/604800, at most 2 in 604,800 s")
    return {"group": group, "max": int(most), "within_s": int(within_s)}


@tenant_group.command("signature")
@click.argument("tenant", metavar="ten_...")
@click.argument("text", required=False)
@click.option("--state", type=click.Choice(["registered", "pending", "refused"]), default="registered")
@click.option("--reason", default="", help="Kept with it.")
@common
def signature_command(call: Call, tenant: str, text: str | None, state: str, reason: str) -> None:
    """Who a tenant may call itself in a text: register TEXT, or list what there is. Example:

    \b
      volley tenant signature ten_0000000000001 CornerShop
    """
    from dispatcher.campaigns.wording import signatures_json

    number = call.tenant(tenant)
    if text is None:
        with call.reading() as view:
            call.show_rows(["text", "state"], signatures_json(view, number))
        return
    reply = call.do(RegisterSignature(text=text, state=state), tenant=number, reason=reason)
    call.show(reply, f"{reply['text']}  {reply['state']}")


@tenant_group.command("list")
@common
def list_tenants_command(call: Call) -> None:
    """All tenants."""
    from dispatcher.tenants.tenant import list_tenants

    with call.reading() as view:
        rows = [
            {
                "id": tenant_id(tenant.number),
                "title": tenant.title,
                "zone": tenant.zone,
                "region": tenant.region,
                "sender": tenant.sender,
                "approval_above": tenant.approval_above,
                "count_change_percent": tenant.count_change_percent,
                "leap_rule": tenant.leap_rule,
                "market_profile": tenant.market_profile,
                "caps": list(tenant.caps),
                "rate": tenant.rate,
                "parts_month": tenant.parts_month,
                "prepaid": tenant.prepaid,
                "currency": tenant.currency,
                "members": tenant.next_member_no,
            }
            for tenant in list_tenants(view)
        ]
    call.show_rows(["id", "title", "zone", "region", "sender", "members"], rows)


@click.group("key")
def key_group() -> None:
    """API keys. A secret is shown once; the store has its hash."""


@key_group.command("create")
@click.option("--tenant", metavar="ten_...", help="The tenant it belongs to.")
@click.option("--operator", is_flag=True, help="A key of the operator's, for all tenants.")
@click.option("--title", default="key", show_default=True, help="What it is for.")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="A right, repeatable; all unless given.")
@common
def create_key_command(call: Call, tenant: str | None, operator: bool, title: str, scopes: tuple[str, ...]) -> None:
    """Make a key; prints its secret. A right is a room and what may be done there. Examples:

    \b
      volley key create --title website --scope members:read --scope members:write
      volley key create --title "till in Mitte" --scope coupons:redeem
    """
    if operator and tenant:
        raise click.UsageError("--operator and --tenant exclude each other")
    number = 0 if operator else call.tenant(tenant)
    secret, reply = make_key(call, tenant=number, title=title, scopes=list(scopes) or None)
    call.show({**reply, "secret": secret}, secret)


@key_group.command("list")
@click.option("--tenant", metavar="ten_...", help="The tenant's keys.")
@click.option("--operator", is_flag=True, help="The operator's keys.")
@common
def list_keys_command(call: Call, tenant: str | None, operator: bool) -> None:
    """Keys without their secrets."""
    from dispatcher.tenants.keys import list_keys

    number = 0 if operator else call.tenant(tenant)
    with call.reading() as view:
        rows = [
            {
                "id": public_id("key", key.id),
                "tenant": tenant_id(key.tenant),
                "title": key.title,
                "scopes": sorted(key.scopes),
            }
            for key in list_keys(view, number)
        ]
    call.show_rows(["id", "tenant", "title", "scopes"], rows)


@key_group.command("revoke")
@click.argument("key", metavar="key_...")
@common
def revoke_key_command(call: Call, key: str) -> None:
    """End a key; the next request with it is answered 401."""
    reply = call.do(RevokeKey(key_id=id_of("key", key, "KEY")), tenant=0)
    call.show(reply, "revoked")
