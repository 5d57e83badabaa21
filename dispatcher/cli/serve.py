"""volley serve, dispatcher, admin: the processes."""

from __future__ import annotations

import click

from config import Settings
from dispatcher import logs
from dispatcher.__main__ import run
from dispatcher.cli.common import Call, common
from dispatcher.cli.rehearse_folder import sweep
from dispatcher.errors import StoreError


@click.command("serve")
@common
def serve_command(call: Call) -> int:
    """Run the dispatcher and the admin API, start again what dies, until SIGTERM or Ctrl-C.

    DIR/run.json has the process ids and the API's address.
    """
    from dispatcher.daemon import supervise

    _need_store(call.settings)
    sweep(call.settings.data)
    logs.configure(call.settings.log.level, call.settings.log.format, process="serve")
    return supervise.main(call.settings)


@click.command("dispatcher")
@common
def dispatcher_command(call: Call) -> int:
    """Run the dispatcher alone, as its systemd unit does."""
    _need_store(call.settings)
    return run(call.settings)


@click.command("admin")
@common
def admin_command(call: Call) -> int:
    """Run the admin API alone, as its systemd unit does."""
    from admin.__main__ import main

    _need_store(call.settings)
    logs.configure(call.settings.log.level, call.settings.log.format, process="admin")
    return main(call.settings)


def _need_store(settings: Settings) -> None:
    """Told once here, instead of by a child that dies and is started again."""
    if not (settings.data / "store" / "data.mdb").exists():
        raise StoreError(f"{settings.data}: no store here; `volley init {settings.data}` makes one")
