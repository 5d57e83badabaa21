"""volley coupon: pools of codes, and what the till does with a code."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click

from dispatcher.cli.common import Call, F, common, id_of, of_tenant
from dispatcher.cli.who import member_no_of
from dispatcher.clock import SystemClock
from dispatcher.control.commands import (
    CloseCouponPool,
    CreateCouponPool,
    EditCouponPool,
    IssueCoupon,
    OpenCouponPool,
    RedeemCoupon,
    UndoCoupon,
    VoidCoupon,
)
from dispatcher.records import View

POOL_COLUMNS = ["id", "name", "value", "state", "redeemed", "left", "valid_from", "valid_until"]
LOG_COLUMNS = ["at", "state", "code", "member", "value", "shop", "reference", "campaign", "arm"]
NONE = "none"  # takes a limit away


@click.group("coupon")
def coupon_group() -> None:
    """Coupons: each member's own code in a pool, redeemed once."""


@coupon_group.group("pool")
def pool_group() -> None:
    """Pools: what their codes are worth, from when to when, how many times."""


def _limits(function: F) -> F:
    for option in (
        click.option("--stock", metavar="N|none", help="How many may be redeemed."),
        click.option("--until", metavar="INSTANT", help="From then on codes have expired; a day or an instant."),
        click.option("--from", "begin", metavar="INSTANT", help="Codes are valid from then on; the tenant's clock."),
    ):
        function = option(function)
    return of_tenant(common(function))


@pool_group.command("create")
@click.argument("name")
@click.option("--value", required=True, help="What the till reads, at most 100 characters.")
@_limits
def create_pool_command(
    call: Call, tenant: str | None, name: str, value: str, begin: str | None, until: str | None, stock: str | None
) -> None:
    """A pool that campaigns may name, so that their texts hold {coupon}. Example:

    \b
      volley coupon pool create "Spring cake" --value "one slice of cake, free" --until 2026-04-01 --stock 500
      volley campaign create ... --text "A slice on us: {coupon}" --coupon-pool "Spring cake"
    """
    number = call.tenant(tenant)
    begin_ms, until_ms = _instants(call, number, begin, until)
    command = CreateCouponPool(
        title=name, value=value, valid_from_ms=begin_ms, valid_until_ms=until_ms, stock=_stock(stock)
    )
    reply = call.do(command, tenant=number)
    call.show(reply, reply["id"])


@pool_group.command("list")
@of_tenant
@common
def list_pools_command(call: Call, tenant: str | None) -> None:
    """Every pool, the newest first."""
    from dispatcher.coupons.pool import pool_json, pools_of

    number = call.tenant(tenant)
    with call.reading() as view:
        rows = [pool_json(pool, row) for pool, row in pools_of(view, number)]
    call.show_rows(POOL_COLUMNS, rows, tenant=number)


@pool_group.command("show")
@click.argument("pool")
@of_tenant
@common
def show_pool_command(call: Call, tenant: str | None, pool: str) -> None:
    """POOL by its id or its name."""
    from dispatcher.coupons.pool import need_pool, pool_json
    from dispatcher.tenants.tenant import need_tenant

    number = call.tenant(tenant)
    with call.reading() as view:
        found = _pool(view, number, pool)
        record, of = pool_json(found, need_pool(view, number, found)), need_tenant(view, number)
    call.show(record, of=of)


@pool_group.command("edit")
@click.argument("pool")
@click.option("--name", help="Another name.")
@click.option("--value", help="What the till reads from now on.")
@_limits
def edit_pool_command(
    call: Call,
    tenant: str | None,
    pool: str,
    name: str | None,
    value: str | None,
    begin: str | None,
    until: str | None,
    stock: str | None,
) -> None:
    """Change what is given; codes that were sent go on to hold. `none` takes a limit away. Example:

    \b
      volley coupon pool edit "Spring cake" --until 2026-04-15 --stock none
    """
    number, found = _found(call, tenant, pool)
    begin_ms, until_ms = _instants(call, number, begin, until)
    given: dict[str, tuple[str | None, Any]] = {
        "name": (name, name),
        "value": (value, value),
        "valid_from_ms": (begin, begin_ms),
        "valid_until_ms": (until, until_ms),
        "stock": (stock, _stock(stock)),
    }
    changes = {field: meant for field, (text, meant) in given.items() if text is not None}
    if not changes:
        raise click.UsageError("nothing to change: give --name, --value, --from, --until or --stock")
    reply = call.do(EditCouponPool(pool=found, changes=changes), tenant=number)
    call.show(reply, f"version {reply['version']}")


@pool_group.command("close")
@click.argument("pool")
@click.option("--reason", default="", help="Kept in the audit.")
@of_tenant
@common
def close_pool_command(call: Call, tenant: str | None, pool: str, reason: str) -> None:
    """Nothing of POOL is redeemed any more. Campaigns that may still send codes of it are named."""
    number, found = _found(call, tenant, pool)
    reply = call.do(CloseCouponPool(pool=found), tenant=number, reason=reason)
    named = "".join(f"\n{campaign} may still send codes of it" for campaign in reply["campaigns"])
    call.show(reply, f"closed, {reply['redeemed']:,} redeemed{named}")


@pool_group.command("open")
@click.argument("pool")
@click.option("--reason", default="", help="Kept in the audit.")
@of_tenant
@common
def open_pool_command(call: Call, tenant: str | None, pool: str, reason: str) -> None:
    """Codes of POOL are taken again."""
    number, found = _found(call, tenant, pool)
    reply = call.do(OpenCouponPool(pool=found), tenant=number, reason=reason)
    call.show(reply, "open")


@coupon_group.command("issue")
@click.argument("pool")
@click.argument("member")
@click.option("--reason", default="", help="Kept in the audit.")
@of_tenant
@common
def issue_command(call: Call, tenant: str | None, pool: str, member: str, reason: str) -> None:
    """MEMBER's code in POOL, to read out: the same as in any text. Example:

    \b
      volley coupon issue "Spring cake" +4915112345678
    """
    number = call.tenant(tenant)
    with call.reading() as view:
        command = IssueCoupon(pool=_pool(view, number, pool), member_no=member_no_of(view, number, member))
    reply = call.do(command, tenant=number, reason=reason)
    call.show(reply, f"{reply['code']}  {reply['value']}{'' if reply['state'] == 'unused' else ', ' + reply['state']}")


@coupon_group.command("show")
@click.argument("code")
@of_tenant
@common
def show_command(call: Call, tenant: str | None, code: str) -> None:
    """CODE as it is now, and what a till would be told."""
    from dispatcher.apps.coupons import show_coupon
    from dispatcher.tenants.tenant import need_tenant

    number = call.tenant(tenant)
    with call.reading() as view:
        record, of = show_coupon(view, number, code, SystemClock().epoch_ms()), need_tenant(view, number)
    call.show(record, of=of)


@coupon_group.command("redeem")
@click.argument("code")
@click.option("--shop", default="", help="Where.")
@click.option("--reference", default="", help="The till's own, such as a receipt's number.")
@click.option("--amount-micros", type=click.IntRange(min=0), help="What was bought for, in micro-units.")
@click.option("--key", help="The same key again changes nothing; a new one unless given.")
@of_tenant
@common
def redeem_command(
    call: Call, tenant: str | None, code: str, shop: str, reference: str, amount_micros: int | None, key: str | None
) -> None:
    """Redeem CODE, once a person and pool. Case, blanks and hyphens do not matter. Example:

    \b
      volley coupon redeem 7H2K-9QXM-4TRD --shop Mitte --reference 1032-77
    """
    command = RedeemCoupon(
        code=code, shop=shop, reference=reference, amount_micros=amount_micros, key=key or f"cli-{uuid.uuid4()}"
    )
    reply = call.do(command, tenant=call.tenant(tenant))
    call.show(reply, f"{reply['value']}{' (redeemed before, by this key)' if reply.get('repeated') else ''}")


@coupon_group.command("void")
@click.argument("code")
@click.option("--reason", required=True, help="Kept with the coupon and in the audit.")
@of_tenant
@common
def void_command(call: Call, tenant: str | None, code: str, reason: str) -> None:
    """CODE can no more be redeemed. Example:

    \b
      volley coupon void 7H2K9QXM4TRD --reason "posted in a forum"
    """
    reply = call.do(VoidCoupon(code=code), tenant=call.tenant(tenant), reason=reason)
    call.show(reply, "void")


@coupon_group.command("undo")
@click.argument("code")
@click.option("--reason", required=True, help="Kept with the coupon and in the audit.")
@of_tenant
@common
def undo_command(call: Call, tenant: str | None, code: str, reason: str) -> None:
    """Take back that CODE was redeemed, or made void. Example:

    \b
      volley coupon undo 7H2K9QXM4TRD --reason "bought nothing after all"
    """
    reply = call.do(UndoCoupon(code=code), tenant=call.tenant(tenant), reason=reason)
    call.show(reply, f"no longer {reply['kind']}")


@coupon_group.command("log")
@click.option("--pool", help="Only of this pool, by id or name.")
@click.option("--campaign", metavar="cmp_...", help="Only what this campaign earned.")
@click.option("--state", type=click.Choice(["redeemed", "void", "undone"]), help="Only in this state.")
@click.option("--shop", help="Only by this shop.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True)
@of_tenant
@common
def log_command(
    call: Call,
    tenant: str | None,
    pool: str | None,
    campaign: str | None,
    state: str | None,
    shop: str | None,
    limit: int,
) -> None:
    """What was redeemed or made void, the newest first. Example:

    \b
      volley coupon log --pool "Spring cake" --shop Mitte --limit 1000 --json
    """
    from dispatcher.apps.coupons import Wanted, redemption_log

    number, rows = call.tenant(tenant), list[dict[str, Any]]()
    with call.reading() as view:
        wanted = Wanted(
            pool=None if pool is None else _pool(view, number, pool),
            campaign=None if campaign is None else id_of("cmp", campaign, "--campaign"),
            state=state,
            shop=shop,
        )
        before = None
        while len(rows) < limit:
            more, before = redemption_log(view, number, wanted, before=before, limit=limit - len(rows))
            rows += more
            if before is None:
                break
    call.show_rows(LOG_COLUMNS, rows, tenant=number)


def _pool(view: View, tenant: int, text: str) -> int:
    from dispatcher.coupons.pool import find_pool

    pool = find_pool(view, tenant, text)
    if pool is None:
        raise click.UsageError(f"{text!r} is no coupon pool's id (cpl_...) or name: see volley coupon pool list")
    return pool


def _found(call: Call, tenant: str | None, pool: str) -> tuple[int, int]:
    """The tenant's number and the pool's."""
    number = call.tenant(tenant)
    with call.reading() as view:
        return number, _pool(view, number, pool)


def _instants(call: Call, tenant: int, *texts: str | None) -> list[int | None]:
    """Epoch milliseconds; a time without a zone is the tenant's."""
    if not any(texts):
        return [None for _ in texts]
    from dispatcher.tenants.tenant import need_tenant

    with call.reading() as view:
        zone = ZoneInfo(need_tenant(view, tenant).zone)
    return [_instant(text, zone) for text in texts]


def _instant(text: str | None, zone: ZoneInfo) -> int | None:
    if text is None or text == NONE:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is no instant such as 2026-03-01 or 2026-03-01T09:00+01:00") from None
    found = found if found.tzinfo else found.replace(tzinfo=zone)
    if not 1970 <= found.year <= 2199:
        raise click.UsageError(f"{text!r}: a year from 1970 to 2199")
    return int(found.timestamp() * 1_000)


def _stock(text: str | None) -> int | None:
    if text is None or text == NONE:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise click.UsageError(f"--stock {text!r}: a whole number, or {NONE}")
    return int(text)
