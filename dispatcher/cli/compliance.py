"""volley suppression, consent, profile: who gets nothing, who said yes, and what a market asks for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from config import SettingError
from dispatcher.cli.common import Call, F, common, of_tenant
from dispatcher.clock import rfc3339
from dispatcher.control.commands import ImportSuppressions, RecordConsents
from dispatcher.errors import CommandRefused

AT_ONCE = 5_000  # members/suppression.py
CONSENTS_AT_ONCE = 1_000  # members/consents.py
HASH_CHARACTERS = 64
SHOWN = 20  # wrong lines of a file


@click.group("suppression")
def suppression_group() -> None:
    """Numbers that nothing goes to: of the operator, a tenant, or one signature."""


def _scope(function: F) -> F:
    for option in (
        click.option("--signature", default="", metavar="TEXT", help="For what bears this signature alone."),
        click.option("--operator", is_flag=True, help="The operator's list, which holds for every tenant."),
    ):
        function = option(function)
    return of_tenant(common(function))


@suppression_group.command("add")
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...")
@click.option("--why", default="", help="Kept with each.")
@_scope
def add_command(
    call: Call, tenant: str | None, operator: bool, signature: str, numbers: tuple[str, ...], why: str
) -> None:
    """Nothing more to these numbers. Example:

    \b
      volley suppression add +4915112345678 --why "court order"
    """
    command = ImportSuppressions(numbers=list(numbers), signature=signature, why=why)
    reply = call.do(command, tenant=0 if operator else call.tenant(tenant))
    call.show(reply, f"{reply['added']:,} added, {reply['already']:,} were there")


@suppression_group.command("remove")
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...")
@_scope
def remove_command(call: Call, tenant: str | None, operator: bool, signature: str, numbers: tuple[str, ...]) -> None:
    """Take numbers from a list. An opt-out and an erasure stay."""
    command = ImportSuppressions(numbers=list(numbers), signature=signature, remove=True)
    reply = call.do(command, tenant=0 if operator else call.tenant(tenant))
    call.show(reply, f"{reply['removed']:,} removed, {reply['absent']:,} were not there")


@suppression_group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--why", default="", help="Kept with each; the file's name unless given.")
@_scope
def import_command(call: Call, tenant: str | None, operator: bool, signature: str, file: Path, why: str) -> None:
    """A file of numbers, or of their SHA-256 hashes in hexadecimal, one a line. What is neither is listed and left.

    A hash is of the digits with the country code, without a plus. Example:

    \b
      volley suppression import robinson-list.txt --operator
    """
    from dispatcher.members.msisdn import Unparsed, normalise
    from dispatcher.members.suppression import found_by_hash
    from dispatcher.tenants.tenant import need_tenant

    number = 0 if operator else call.tenant(tenant)
    with call.reading() as view:
        region = need_tenant(view, number).region if number else ""
    total = {"added": 0, "already": 0, "wrong": 0}
    wrong: list[dict[str, Any]] = []
    with Progress(console=Console(stderr=True), disable=call.json) as bar:
        task = bar.add_task(file.name, total=file.stat().st_size)
        for lines in _chunks(_lines(file), AT_ONCE):
            numbers, hashes = [], []
            for line_no, text in lines:
                if len(text) == HASH_CHARACTERS and all(one in "0123456789abcdefABCDEF" for one in text):
                    hashes.append(text)
                elif isinstance(normalise(text, region), Unparsed):
                    total["wrong"] += 1
                    wrong.append({"line": line_no, "value": text[:40]})
                else:
                    numbers.append(text)
            found: dict[str, Any] = {}
            if hashes:
                with call.reading() as view:
                    found = found_by_hash(view, number, hashes)
            if numbers or hashes:
                command = ImportSuppressions(
                    numbers=numbers, hashes=hashes, signature=signature, why=why or file.name, **found
                )
                reply = call.do(command, tenant=number)
                total["added"] += reply["added"]
                total["already"] += reply["already"]
            bar.advance(task, sum(len(text) + 1 for _, text in lines))
    lines_ = "".join(f"\nline {one['line']}: {one['value']!r} is neither a number nor a hash" for one in wrong[:SHOWN])
    call.show(
        {**total, "lines": wrong[:1_000]},
        f"{total['added']:,} added, {total['already']:,} were there, {total['wrong']:,} wrong{lines_}",
    )


@suppression_group.command("check")
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...")
@of_tenant
@common
def check_command(call: Call, tenant: str | None, numbers: tuple[str, ...]) -> None:
    """On which lists each number stands."""
    from dispatcher.members.suppression import check

    number = call.tenant(tenant)
    with call.reading() as view:
        rows = check(view, number, list(numbers))
    call.show_rows(["number", "suppressed", "lists"], rows)


@suppression_group.command("list")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True)
@_scope
def list_command(call: Call, tenant: str | None, operator: bool, signature: str, limit: int) -> None:
    """Numbers of a list, in order. Hashes show none: `check` says of a number whether it is among them."""
    from dispatcher.members.suppression import listed

    number = 0 if operator else call.tenant(tenant)
    with call.reading() as view:
        rows = [
            {"number": f"+{row['number']}", "at": rfc3339(row["at_ms"]), "why": row["reason"]}
            for row in listed(view, number, limit=limit, signature=signature)
        ]
    call.show_rows(["number", "at", "why"], rows)


@click.group("consent")
def consent_group() -> None:
    """Who said yes or no to a purpose, with what proves it."""


@consent_group.command("add")
@click.argument("number")
@click.argument("purpose", type=click.Choice(["marketing", "care", "service"]))
@click.option("--source", required=True, help="Where it was said: web form, till, paper.")
@click.option("--text", default="", help="What was agreed to, or a reference to it.")
@click.option("--no", "refused", is_flag=True, help="They said no, which is an opt-out.")
@of_tenant
@common
def add_consent_command(
    call: Call, tenant: str | None, number: str, purpose: str, source: str, text: str, refused: bool
) -> None:
    """Record one person's word. Example:

    \b
      volley consent add +4915112345678 marketing --source "web form" --text "spring newsletter, v3"
    """
    word = {"number": number, "purpose": purpose, "given": not refused, "source": source, "text": text}
    reply = call.do(RecordConsents(consents=[word]), tenant=call.tenant(tenant))
    call.show(reply, "recorded")


@consent_group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@of_tenant
@common
def import_consents_command(call: Call, tenant: str | None, file: Path) -> None:
    """A file of JSON objects, one a line: number, purpose, source, and given, text, at_ms where they are known.

    Goes in pieces of 1,000; what was recorded before a wrong piece stays.
    """
    number, total = call.tenant(tenant), {"given": 0, "withdrawn": 0}
    for lines in _chunks(_lines(file), CONSENTS_AT_ONCE):
        words = [_word(file, line, text) for line, text in lines]
        try:
            reply = call.do(RecordConsents(consents=words), tenant=number)
        except CommandRefused as exc:
            at = [(lines[int(error["pointer"].split("/")[2])][0], error["detail"]) for error in exc.errors[:SHOWN]]
            said = "; ".join(f"line {line}: {detail}" for line, detail in at) or exc.detail
            span = f"lines {lines[0][0]} to {lines[-1][0]}"
            raise click.ClickException(f"{file}: nothing of {span} is recorded: {said}") from exc
        for name in total:
            total[name] += reply[name]
    call.show(total, f"{total['given']:,} said yes, {total['withdrawn']:,} said no")


@consent_group.command("show")
@click.argument("number")
@of_tenant
@common
def show_consents_command(call: Call, tenant: str | None, number: str) -> None:
    """Everything a number said, and what holds now."""
    from dispatcher.members.consents import consents_json
    from dispatcher.members.msisdn import Unparsed, normalise
    from dispatcher.tenants.tenant import need_tenant

    which = call.tenant(tenant)
    with call.reading() as view:
        of = need_tenant(view, which)
        parsed = normalise(number, of.region)
        if isinstance(parsed, Unparsed):
            raise click.UsageError(f"NUMBER {number!r}: {parsed.reason.replace('_', ' ')}")
        call.show(consents_json(view, which, parsed), of=of)


@click.group("profile")
def profile_group() -> None:
    """Market profiles: words, hours, caps, billing and mandatory text of a market."""


@profile_group.command("list")
@common
def list_profiles_command(call: Call) -> None:
    """What `volley tenant edit --market` takes."""
    from dispatcher.tenants.profile import get_profile, profile_names

    rows = []
    for name in profile_names():
        try:
            rows.append({"name": name, "title": get_profile(name).title, "wrong": ""})
        except SettingError as exc:
            rows.append({"name": name, "title": "", "wrong": str(exc)})
    call.show_rows(["name", "title", "wrong"], rows)


@profile_group.command("show")
@click.argument("name")
@common
def show_profile_command(call: Call, name: str) -> None:
    """Everything in a profile; an error of its file names key, value and rule."""
    from dispatcher.tenants.profile import get_profile, profile_json

    call.show(profile_json(get_profile(name)))


def _word(file: Path, line: int, text: str) -> dict[str, Any]:
    try:
        word = json.loads(text)
    except ValueError as exc:
        raise click.ClickException(f"{file}, line {line}: not JSON: {exc}") from exc
    if not isinstance(word, dict):
        raise click.ClickException(f"{file}, line {line}: an object with number, purpose and source, not {text[:40]!r}")
    return word


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines that say something."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if text := line.strip().strip('",;'):
                yield number, text


def _chunks(lines: Iterable[tuple[int, str]], size: int) -> Iterator[list[tuple[int, str]]]:
    left = iter(lines)
    while some := list(itertools.islice(left, size)):
        yield some
