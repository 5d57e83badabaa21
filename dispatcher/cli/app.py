"""The `volley` group: which verb lives in which module, and what an error looks like.

A verb's module is imported when the verb is called, so `volley --help` needs none of them.
Exit status: 0 done, 1 failed, 2 the call or a setting is wrong, 3 another dispatcher has the store,
4 the store is of a later version, 130 interrupted. An error is one line on stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click
import lmdb

import dispatcher
from config import SettingError
from dispatcher.__main__ import EXIT_LOCKED, EXIT_NEWER_SCHEMA
from dispatcher.errors import CommandRefused, DispatcherError, NewerSchema, StoreLocked


class Verb(NamedTuple):
    place: str  # "module:attribute"
    help: str


VERBS: dict[str, Verb] = {
    "init": Verb("dispatcher.cli.init:init_command", "Make a data folder: settings, store, the operator's key."),
    "serve": Verb("dispatcher.cli.serve:serve_command", "Run and watch the dispatcher and the admin API."),
    "dispatcher": Verb("dispatcher.cli.serve:dispatcher_command", "Run the dispatcher alone (systemd)."),
    "admin": Verb("dispatcher.cli.serve:admin_command", "Run the admin API alone (systemd)."),
    "smsc": Verb("dispatcher.cli.smsc:smsc_command", "Run the SMSC simulator."),
    "demo": Verb("dispatcher.cli.demo:demo_command", "A million members, one broadcast, from end to end."),
    "tenant": Verb("dispatcher.cli.accounts:tenant_group", "Tenants: create, list, edit."),
    "key": Verb("dispatcher.cli.accounts:key_group", "API keys: create, list, revoke."),
    "field": Verb("dispatcher.cli.fields:field_group", "A tenant's fields: add, list, edit, rename, retire, stats."),
    "member": Verb("dispatcher.cli.members:member_group", "One member: show, set, tag, merge, erase, export; bulk."),
    "import": Verb("dispatcher.cli.imports:import_command", "Import members from a file; list, commit, undo."),
    "export": Verb("dispatcher.cli.export:export_command", "Members who match as CSV, NDJSON or Parquet."),
    "segment": Verb("dispatcher.cli.segments:segment_group", "Segments: count, list, save, overlap, histogram."),
    "campaign": Verb("dispatcher.cli.campaign:campaign_group", "Campaigns: draft, preview, approve, start, watch."),
    "report": Verb("dispatcher.cli.days:report_command", "A tenant's days: what was sent, and what came of it."),
    "message": Verb("dispatcher.cli.message:message_group", "Single messages: send, show, list."),
    "suppression": Verb(
        "dispatcher.cli.compliance:suppression_group", "Numbers that nothing goes to: add, import, check, list."
    ),
    "consent": Verb("dispatcher.cli.compliance:consent_group", "Who said yes or no, with evidence: add, import, show."),
    "profile": Verb("dispatcher.cli.compliance:profile_group", "Market profiles: list, show."),
    "price": Verb("dispatcher.cli.money:price_group", "What a part costs by prefix: set, list."),
    "money": Verb("dispatcher.cli.money:money_group", "A tenant's credit: top-up, ledger."),
    "usage": Verb("dispatcher.cli.money:usage_command", "What a tenant used in a month, and what is left."),
    "points": Verb("dispatcher.cli.points:points_group", "Points: add, show."),
    "coupon": Verb("dispatcher.cli.coupons:coupon_group", "Coupons: pools, codes, redeem, void, undo, log."),
    "smpp": Verb("dispatcher.cli.smpp_tools:smpp_group", "Binds: status, trace, drain; PDUs by hand: decode, encode."),
    "route": Verb(
        "dispatcher.cli.routes:route_group", "Which endpoints messages take: list, put, delete; ported numbers."
    ),
    "text": Verb("dispatcher.cli.text_tool:text_command", "What a text costs: alphabet, parts, octets."),
    "verify": Verb("dispatcher.cli.check:verify_command", "Walk the store; report counts that do not add up."),
    "backup": Verb("dispatcher.cli.backup:backup_command", "Copy the store while it is in use; verify a copy."),
    "restore": Verb("dispatcher.cli.backup:restore_command", "Make a data folder of a backup, everything held."),
    "audit": Verb("dispatcher.cli.audit:audit_group", "Who did what, when and why: list, check."),
    "doctor": Verb("dispatcher.cli.check:doctor_command", "Look at this machine and this data folder."),
    "bench": Verb("dispatcher.cli.bench:bench_command", "Measure; each figure with its check."),
}


class Verbs(click.Group):
    """A group whose commands are loaded when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        module, _, attribute = verb.place.partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as exc:
            if exc.name != module:
                raise click.ClickException(_missing(exc)) from exc
            raise click.ClickException(f"this version has no `volley {cmd_name}`") from exc
        except ImportError as exc:
            raise click.ClickException(_missing(exc)) from exc
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(dispatcher.__version__, prog_name="volley")
def volley() -> None:
    """Volley, an SMS dispatch server.

    Every verb that needs a store takes --config FILE or --data DIR (VOLLEY_CONFIG, VOLLEY_DATA) and --json.
    """


def run(argv: Sequence[str] | None = None) -> int:
    """The command line to its exit status; prints errors."""
    try:
        status = volley.main(argv, prog_name="volley", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
        return 2
    except click.UsageError as exc:
        return _say(exc.format_message() + (f" ({exc.ctx.command_path} --help)" if exc.ctx else ""), 2)
    except click.ClickException as exc:
        return _say(exc.format_message(), exc.exit_code)
    except SettingError as exc:
        return _say(str(exc), 2)
    except CommandRefused as exc:
        return _say(_refusal(exc), 1)
    except StoreLocked as exc:
        return _say(str(exc), EXIT_LOCKED)
    except NewerSchema as exc:
        return _say(str(exc), EXIT_NEWER_SCHEMA)
    except (DispatcherError, lmdb.Error, OSError) as exc:
        if isinstance(exc, BrokenPipeError):  # `volley ... | head`; what is still buffered has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return _say(str(exc), 1)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", 130)
    return status if isinstance(status, int) else 0


def _say(text: str, status: int) -> int:
    click.echo(f"volley: {_one_line(text)}", err=True)
    return status


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _refusal(exc: CommandRefused) -> str:
    others = [e for e in exc.errors if e.get("detail") != exc.detail]
    errors = "".join(f"; {e.get('pointer', '')}: {e.get('detail', e.get('code', ''))}" for e in others)
    told = {name: value for name, value in exc.extra.items() if value not in (None, [], {}, "")}
    extra = "".join(f"; {name.replace('_', ' ')}: {value}" for name, value in told.items())
    return f"{exc.detail} [{exc.code}]{errors}{extra}"


def _missing(exc: ImportError) -> str:
    name = exc.name or ""
    if name.rpartition(".")[2].startswith("_") and name.startswith("dispatcher"):
        return f"the kernel {name} is not built: `make build`, or `pip install .` again"
    return f"cannot be loaded: {exc}"
