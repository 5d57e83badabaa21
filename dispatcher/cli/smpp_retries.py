"""volley smpp retries: when a refused message goes again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dispatcher.cli.common import Call, common


@click.command("retries")
@common
def retries_command(call: Call) -> None:
    """What each command_status means for a message: how often it goes again, how far apart, until when. Where an
    endpoint's `statuses` say otherwise, a row with its name follows."""
    from dispatcher.daemon.retries import table

    tuning = call.settings.dispatcher
    own = {endpoint.name: endpoint.statuses for endpoint in call.settings.endpoints}
    rows = table(retry_s=tuning.retry_s, tries_max=tuning.tries_max, endpoints=own)
    columns = ["command_status", "name", "endpoint", "action", "attempts", "spacing_s", "until"]
    call.show_rows(columns, rows if call.json else map(_shown, rows))


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    spacing = row["spacing_s"]
    apart = "" if spacing is None else " to ".join(f"{second:g}" for second in dict.fromkeys(spacing))
    return {**row, "endpoint": row["endpoint"] or "", "attempts": row["attempts"] or "any", "spacing_s": apart}
