"""What verbs share: the common options, how answers are shown, which tenant is meant."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from config import SettingError, Settings, load
from dispatcher.cli.shown import Reader, label
from dispatcher.cli.talk import listens, send
from dispatcher.clock import SystemClock
from dispatcher.control.commands import Envelope
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.store import Snapshot, open_store

if TYPE_CHECKING:
    from dispatcher.tenants.tenant import Tenant

WHOLE_CHARACTERS = 32  # of a cell without a blank: ids, times and numbers are shorter
PIPE_CHARACTERS = 10_000  # a line where nobody looks at its end

_ID = re.compile(r"[a-z]{3}_")

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
        """The tenant meant: by its id or its title, else the only one there is. Raises UsageError."""
        if text is not None and _ID.match(text):
            return id_of("ten", text, "--tenant")
        from dispatcher.tenants.tenant import list_tenants

        with self.reading() as view:
            tenants = [one for one in list_tenants(view) if text in (None, one.title)]
        if len(tenants) == 1:
            return int(tenants[0].number)
        if text is None and not tenants:
            raise click.UsageError("there is no tenant yet: make one with `volley tenant create`")
        if text is None:
            raise click.UsageError(f"there are {len(tenants)} tenants: say which with --tenant ten_...")
        raise click.UsageError(f"--tenant: {text!r} is no id (ten_...), and the title of {len(tenants) or 'none'}")

    def show(self, record: Mapping[str, Any], line: str | None = None, *, of: Tenant | None = None) -> None:
        """One answer: the record as JSON, or `line`, or the record's fields line by line, by the clock and in the
        currency of the tenant it is `of`."""
        if self.json:
            click.echo(json.dumps(record, ensure_ascii=False, default=str))
        elif line is not None:
            click.echo(line)
        else:
            for told in Reader.of(of).lines(record):
                click.echo(told.rstrip())

    def show_rows(self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, tenant: int = 0) -> None:
        """A list: one JSON object a line, or a table, by the clock and in the currency of the tenant if one is given.
        An id or a time is never broken over two lines, and nothing is in a pipe: both can be copied and looked for."""
        if self.json:
            for row in rows:
                click.echo(json.dumps(row, ensure_ascii=False, default=str))
            return
        reader = self._reader(tenant)
        cells = [[_cell(column, row.get(column), reader) for column in columns] for row in rows]
        table = Table(box=None, header_style="bold", pad_edge=False)
        for at, column in enumerate(columns):
            whole = all(len(line[at]) <= WHOLE_CHARACTERS and " " not in line[at] for line in cells)
            table.add_column((label(column) if reader else column).replace("_", " "), overflow="fold", no_wrap=whole)
        for line in cells:
            table.add_row(*line)
        width = None if sys.stdout.isatty() else PIPE_CHARACTERS
        Console(markup=False, highlight=False, emoji=False, width=width).print(table)

    def _reader(self, tenant: int) -> Reader | None:
        if not tenant:
            return None
        from dispatcher.tenants.tenant import need_tenant

        with self.reading() as view:
            return Reader.of(need_tenant(view, tenant))


def common(function: F) -> F:
    """--config, --data, --json; the verb is called with a Call first."""

    @click.option("--config", metavar="FILE", help="Settings (VOLLEY_CONFIG).")
    @click.option("--data", metavar="DIR", help="Data folder; its volley.toml is read (VOLLEY_DATA).")
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @functools.wraps(function)
    def wrapped(config: str | None, data: str | None, as_json: bool, **rest: Any) -> Any:
        return function(Call(_settings(config, data), as_json), **rest)

    return wrapped  # type: ignore[return-value]


def _settings(config: str | None, data: str | None) -> Settings:
    """As they are written. While they hold an error a running dispatcher can still be asked: to stop, for instance."""
    try:
        return load(config, data)
    except SettingError as exc:
        place = Path(data or config or os.environ.get("VOLLEY_CONFIG") or os.environ.get("VOLLEY_DATA") or "/")
        folder = place.parent if place.is_file() else place
        known = Settings(data=folder.expanduser().absolute())
        if not listens(known):
            raise
        click.echo(f"volley: {exc}; the running dispatcher goes on with the settings of before", err=True)
        return known


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


def _cell(column: str, value: Any, reader: Reader | None) -> str:
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(sorted(map(str, value)))
    if reader is not None:
        return reader.value(column, value)
    return "" if value is None else str(value)
