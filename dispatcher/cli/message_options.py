"""The options of a campaign or message on the command line: class, priority, receipts, times, look-alikes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dispatcher.text.options import REGISTERED, RULES

F = TypeVar("F", bound=Callable[..., Any])


def with_options(function: F) -> F:
    """--flash and the rest; passed on as `options`, None where nothing is given."""

    @click.option("--class", "class_", type=int, metavar="0-3", help="Message class: 1 phone, 2 SIM, 3 device.")
    @click.option("--flash/--no-flash", default=None, help="Class 0: shown at once and not kept.")
    @click.option("--replace-type", type=int, metavar="1-7", help="Takes the place of the last one of that type.")
    @click.option("--priority", type=int, metavar="0-3", help="priority_flag.")
    @click.option("--receipts-for", "registered_delivery", type=click.Choice([*REGISTERED]), help="Which receipts.")
    @click.option("--transliterate/--no-transliterate", default=None, help="Look-alikes where they spare UCS-2.")
    @click.option("--valid-until", metavar="TIME", help="2026-12-01T09:00:00Z: the SMSC gives up then.")
    @click.option("--deliver-at", metavar="TIME", help="2026-12-01T09:00:00Z: the SMSC keeps it until then.")
    @functools.wraps(function)
    def wrapped(*args: Any, **given: Any) -> Any:
        given["class"] = given.pop("class_")
        options = {name: value for name in RULES if (value := given.pop(name)) is not None}
        return function(*args, options=options or None, **given)

    return wrapped  # type: ignore[return-value]
