"""volley audit list, check: who did what, when and why, and whether the log is as it was written.

Touches: the store, read-only, beside a running dispatcher or without one.
"""

from __future__ import annotations

import click

from dispatcher.cli.common import Call, common
from dispatcher.clock import rfc3339
from dispatcher.store import audit
from dispatcher.tenants.keys import key_titles

EPILOG = """\b
  volley audit list --command campaign. --limit 20
  volley audit check
  volley audit check --expect 1041:5f0c...        a number and seal noted before
"""


@click.group("audit", epilog=EPILOG)
def audit_group() -> None:
    """Every command's line: each seals the one before."""


@audit_group.command("list", epilog=EPILOG)
@click.option("--tenant", metavar="ten_...", help="Only of this tenant.")
@click.option("--command", "word", default="", help="Only commands that begin with this: campaign., key.create, ...")
@click.option("--before", type=click.IntRange(1), help="Only entries with a lesser number.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@common
def list_audit_command(call: Call, tenant: str | None, word: str, before: int | None, limit: int) -> None:
    """The newest entries first; --json has what was changed, before and after."""
    number = None if tenant is None else call.tenant(tenant)
    rows: list[tuple[int, dict[str, object]]] = []
    with call.reading() as view:
        while True:
            found, before = audit.newest_first(
                view, tenant=number, command=word, before=before, limit=limit - len(rows)
            )
            rows += found
            if before is None or len(rows) == limit:
                break
        titles = key_titles(view)
    shown = [audit.audit_json(*row) for row in rows]
    for row in shown:
        row["at"] = rfc3339(row.pop("at_ms"))
        row["who"] = titles.get(row["actor"])
    call.show_rows(("seq", "at", "actor", "who", "command", "object", "tenant", "reason"), shown)


@audit_group.command("check", epilog=EPILOG)
@click.option("--expect", metavar="SEQ:SEAL", help="An entry's number and seal noted before: it must still be that.")
@common
def check_audit_command(call: Call, expect: str | None) -> int:
    """Walk the whole log; exit status 1 at the first entry that was changed, removed or put in.

    Note the number and seal it prints somewhere else: whoever can write the store could seal all of it anew.
    """
    wanted = _expected(expect)
    with call.reading() as view:
        chain = audit.check(view)
        broken = chain.broken
        if broken is None and wanted is not None:
            row = audit.entry(view, wanted[0])
            if row is None or row.get("seal") != wanted[1]:
                broken = wanted[0], "not there" if row is None else "has another seal than the one expected"
    record = {
        "entries": chain.entries,
        "unsealed": chain.unsealed,
        "seq": chain.seq,
        "seal": chain.seal.hex(),
        "broken": None if broken is None else {"seq": broken[0], "detail": broken[1]},
    }
    said = f"{chain.entries:,} entries hold" if broken is None else f"entry {broken[0]}: {broken[1]}"
    earlier = f", {chain.unsealed:,} of them of a version that did not seal" if chain.unsealed else ""
    call.show(record, f"{said}{earlier}; newest {chain.seq}:{chain.seal.hex()}")
    return 0 if broken is None else 1


def _expected(text: str | None) -> tuple[int, bytes] | None:
    if text is None:
        return None
    number, _, seal = text.partition(":")
    try:
        octets = bytes.fromhex(seal)
    except ValueError:
        octets = b""
    if not number.isdecimal() or len(number) > 19 or len(octets) != audit.SEAL_OCTETS:
        raise click.UsageError(f"--expect: {text!r} is not SEQ:SEAL as `volley audit check` prints it")
    return int(number), octets
