"""What verbs share: the common options, how answers are shown, which tenant is meant."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from config import Settings, load
from dispatcher.cli.talk import send
from dispatcher.clock import SystemClock
from dispatcher.control.commands import Envelope
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.store import Snapshot, open_store

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a verb: its settings, and how it wants its answer."""

    settings: Settings
    json: bool

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """A snapshot of the store, read-only; works beside a running dispatcher."""
        with open_store(self.settings.data) as store, store.snapshot() as view:
            yield view

    def do(self, command: Any, *, tenant: int, reason: str = "") -> dict[str, Any]:
        """A command's reply: by the dispatcher when it runs, else done here. Raises CommandRefused."""
        envelope = Envelope(tenant=tenant, actor="cli", at_ms=SystemClock().epoch_ms(), reason=reason)
        return send(self.settings, command, envelope)

    def tenant(self, text: str | None) -> int:
        """The tenant meant: as given, else the only one there is. Raises UsageError."""
        if text is not None:
            return id_of("ten", text, "--tenant")
        from dispatcher.tenants.tenant import list_tenants

        with self.reading() as view:
            tenants = list(list_tenants(view))
        if len(tenants) != 1:
            raise click.UsageError(f"there are {len(tenants)} tenants: say which with --tenant ten_...")
        return int(tenants[0].number)

    def show(self, record: Mapping[str, Any], line: str | None = None) -> None:
        """One answer: the record as JSON, or `line`, or the record's fields line by line."""
        if self.json:
            click.echo(json.dumps(record, ensure_ascii=False, default=str))
        elif line is not None:
            click.echo(line)
        else:
            for name, value in record.items():
                shown = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
                click.echo(f"{name + ':':20} {'' if value is None else shown}")

    def show_rows(self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """A list: one JSON object a line, or a table."""
        if self.json:
            for row in rows:
                click.echo(json.dumps(row, ensure_ascii=False, default=str))
            return
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        Console(markup=False, highlight=False, emoji=False).print(table)


def common(function: F) -> F:
    """--config, --data, --json; the verb is called with a Call first."""

    @click.option("--config", metavar="FILE", help="Settings (VOLLEY_CONFIG).")
    @click.option("--data", metavar="DIR", help="Data folder; its volley.toml is read (VOLLEY_DATA).")
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @functools.wraps(function)
    def wrapped(config: str | None, data: str | None, as_json: bool, **rest: Any) -> Any:
        return function(Call(load(config, data), as_json), **rest)

    return wrapped  # type: ignore[return-value]


def of_tenant(function: F) -> F:
    """--tenant, passed on as text (Call.tenant reads it)."""
    option = click.option("--tenant", metavar="ten_...", help="Which tenant; may be left out where there is one.")
    return option(function)


def id_of(prefix: str, text: str, what: str) -> int:
    """The number behind a public id. Raises UsageError."""
    number = parse_public_id(prefix, text)
    if number is None:
        raise click.UsageError(f"{what}: {text!r} is not an id that begins with {prefix}_")
    return number


def tenant_id(number: int) -> str | None:
    """A tenant as people see it; None for the operator."""
    return public_id("ten", number) if number else None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(sorted(map(str, value)))
    return str(value)
