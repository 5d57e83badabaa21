"""What `volley campaign create` and `edit` take beside plain words: a schedule, arms, a holdout, a test of the arms."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import click

from dispatcher.campaigns.arm_rules import BY
from dispatcher.cli.common import Call, F


def written(function: F) -> F:
    """--at and the rest of a schedule, --arm, --holdout and such; passed on as `schedule`, `arms`, `holdout`, `winner`,
    `stratify`, None where nothing is given."""

    @click.option(
        "--at", metavar="TIME", help="Start then: 2026-12-01T09:00 in the zone, or with Z. Else with `start`."
    )
    @click.option(
        "--zone", default="tenant", show_default=True, metavar="ZONE", help="Of TIME and the window; or `recipient`."
    )
    @click.option("--window", metavar="FROM-TO", help="Hours of the day in which messages leave, as 09:00-20:00.")
    @click.option("--days", metavar="mo,tu,...", help="Days of the window; every day unless given.")
    @click.option("--spread-s", type=int, default=0, help="Spread the messages over so many seconds.")
    @click.option("--repeat", default="", metavar="RRULE", help="Again and again, as FREQ=WEEKLY;BYDAY=MO; needs --at.")
    @click.option("--if-late", type=click.Choice(["run", "drop"]), default="run", help="What came due while down.")
    @click.option("--arm", "arms", multiple=True, metavar="NAME:PERCENT:TEXT", help="A text and its share; repeatable.")
    @click.option("--holdout", metavar="PERCENT%|COUNT", help="Hold back so many, to compare with.")
    @click.option("--salt", default="", help="Campaigns with the same one hold back the same people.")
    @click.option("--winner", metavar="BY:PERCENT%:SECONDS", help=f"Test the arms first; BY is {', '.join(BY)}.")
    @click.option("--stratify", metavar="FIELD", help="Give each value of a dictionary field the same shares.")
    @functools.wraps(function)
    def wrapped(
        call: Call, at: str | None, zone: str, window: str | None, days: str | None, spread_s: int, repeat: str,
        if_late: str, arms: Sequence[str], holdout: str | None, salt: str, winner: str | None, **rest: Any,
    ) -> Any:  # fmt: skip
        schedule: dict[str, Any] = {"at": at, "zone": zone, "spread_over_s": spread_s, "repeat": repeat}
        schedule["if_late"] = if_late
        if window is not None:
            opens, _, closes = window.partition("-")
            schedule["window"] = {"from": opens, "to": closes} | ({"days": days.split(",")} if days else {})
        elif days:
            raise click.UsageError("--days needs --window FROM-TO")
        if salt and holdout is None:
            raise click.UsageError("--salt needs --holdout")
        given = at is not None or window is not None or spread_s or repeat
        return function(
            call,
            schedule=schedule if given else None,
            arms=[_arm(text) for text in arms] or None,
            holdout=None if holdout is None else {**_holdout(holdout), "salt": salt},
            winner=None if winner is None else _winner(winner),
            **rest,
        )

    return wrapped  # type: ignore[return-value]


def _arm(text: str) -> dict[str, Any]:
    name, first, rest = text.partition(":")
    share, second, said = rest.partition(":")
    if not first or not second:
        raise click.UsageError(f'--arm {text!r}: write NAME:PERCENT:TEXT, as "A:50:Hello {{name}}"')
    return {"name": name, "share": _number(share, "--arm", text), "text": said}


def _holdout(text: str) -> dict[str, Any]:
    if text.endswith("%"):
        return {"percent": _number(text[:-1], "--holdout", text)}
    if not text.isdecimal():
        raise click.UsageError(f"--holdout {text!r}: a percentage as 10%, or a number of members")
    return {"size": int(text)}


def _winner(text: str) -> dict[str, Any]:
    by, _, rest = text.partition(":")
    percent, colon, after = rest.partition(":")
    if not colon or not percent.endswith("%") or not after.isdecimal():
        raise click.UsageError(f"--winner {text!r}: write BY:PERCENT%:SECONDS, as replied:20%:3600")
    return {"by": by, "after_s": int(after), "test_percent": _number(percent[:-1], "--winner", text)}


def _number(text: str, option: str, whole: str) -> int | float:
    try:
        number = float(text)
    except ValueError:
        raise click.UsageError(f"{option} {whole!r}: {text!r} is not a number") from None
    return int(number) if number.is_integer() else number
