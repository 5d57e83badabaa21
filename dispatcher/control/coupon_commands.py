"""Commands about coupon pools and what is done with their codes."""

from __future__ import annotations

import os
from dataclasses import field
from typing import Any

from dispatcher.control.command import Command, command


@command("coupon_pool.create")
class CreateCouponPool(Command):
    title: str  # its name
    value: str  # what the till reads
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None  # from then on it has expired
    stock: int | None = None  # how many may be redeemed; None: as many as there are members
    key: bytes = field(default_factory=lambda: os.urandom(16))  # codes are derived under it


@command("coupon_pool.edit")
class EditCouponPool(Command):
    """name, value, valid_from_ms, valid_until_ms, stock."""

    pool: int
    changes: dict[str, Any]


@command("coupon_pool.close")
class CloseCouponPool(Command):
    """Nothing of it is redeemed any more."""

    pool: int


@command("coupon_pool.open")
class OpenCouponPool(Command):
    pool: int


@command("coupon.issue")
class IssueCoupon(Command):
    """A member's code, for a person to read out: it is the same as in any text."""

    pool: int
    member_no: int


@command("coupon.redeem")
class RedeemCoupon(Command):
    code: str
    key: str  # repeat-safe: the same key again answers the first redeeming
    shop: str = ""
    reference: str = ""  # the till's own, such as a receipt's number
    amount_micros: int | None = None  # what was bought for, in micro-units of the tenant's currency


@command("coupon.void")
class VoidCoupon(Command):
    """It can no more be redeemed; the envelope's reason says why."""

    code: str


@command("coupon.undo")
class UndoCoupon(Command):
    """Take back the redeeming of a code, or its void."""

    code: str
