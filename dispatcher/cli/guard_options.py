"""--signature, --budget, --cap and --rate of a campaign, for its create and edit; what is not given is None."""

from __future__ import annotations

import functools
from typing import Any

import click

from dispatcher.cli.common import F


def with_guards(function: F) -> F:
    """Passed on as `signature`, `budget_micros`, `caps` and `rate`."""

    @click.option("--signature", help="Who the text says that it is from; the tenant's unless given.")
    @click.option(
        "--budget", "budget_micros", type=click.IntRange(0), metavar="MICROS", help="A start above is refused."
    )
    @click.option(
        "--cap", "caps", multiple=True, metavar="MAX/SECONDS",
        help="Messages of its purpose to one number, as 2/604800, beside those of market and tenant; repeatable.",
    )  # fmt: skip
    @click.option("--rate", type=click.IntRange(0), metavar="PARTS/S", help="Of this campaign; 0: no limit.")
    @functools.wraps(function)
    def wrapped(*args: Any, caps: tuple[str, ...], **rest: Any) -> Any:
        return function(*args, caps=[_cap(text) for text in caps if text != "none"] if caps else None, **rest)

    return wrapped  # type: ignore[return-value]


def _cap(text: str) -> dict[str, int]:
    most, _, within_s = text.partition("/")
    if not most.isdecimal() or not within_s.isdecimal():
        raise click.UsageError(f"--cap {text!r}: as 2/604800, at most 2 in 604,800 s")
    return {"max": int(most), "within_s": int(within_s)}
