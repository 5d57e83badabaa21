"""Commands of whoever runs it: routes, binds, backups, and questions to the running dispatcher."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from dispatcher.control.command import Command, command


@command("route.put")
class PutRoute(Command):
    """Make or change a route of the operator's (routes/stored.py)."""

    title: str  # its name
    values: dict[str, Any]  # keys of [[route]]; those left out stay as they are, of a new one as by default
    new: bool = False  # there must be none of that name


@command("route.delete")
class DeleteRoute(Command):
    title: str


@command("route.ported")
class TurnPorted(Command):
    """The ported numbers of a spooled file (routes/ported.py) become the table."""

    count: int
    networks: list[str]
    file: str  # whose they are
    spool: str  # where they lie, in order, as u64: a name in the data folder
    lines: int = 0  # of the file
    rejected: int = 0  # of those
    wrong: list[list[Any]] = field(default_factory=list)  # the first of them, routes/ported.Wrong


@command("route.ported_undo")
class UndoPorted(Command):
    """The table of ported numbers that was in use before the last load; again: the loaded one."""


@command("backup.note")
class NoteBackup(Command):
    """Before all of the store leaves the house: who takes it where."""

    folder: str


@command("bind.connect")
class ConnectBind(Command):
    """Bound and sending again, whatever an operator or a refusal said before."""

    bind: str  # endpoint.number, or an endpoint for all its binds


@command("bind.pause")
class PauseBind(Command):
    """Submit nothing more, stay bound for receipts and texts; stays so until connected or a restart."""

    bind: str


@command("bind.reconnect")
class ReconnectBind(Command):
    """Its connection anew: its window is answered first, then it binds again at once."""

    bind: str


@command("bind.drain")
class DrainBind(Command):
    """Submit nothing more, unbind when the window is answered; stays so until connected or a restart."""

    bind: str


@command("bind.disconnect")
class DisconnectBind(Command):
    """End the connection at once; what is in the window is uncertain. Stays so until connected or a restart."""

    bind: str


@command("bind.reveal")
class RevealBind(Command):
    """See numbers and texts in a trace of this bind, for ten minutes; needs a reason."""

    bind: str


@command("bind.trace")
class TraceBind(Command):
    """What crossed a bind since this looker's last of these. Asked for again and again; ends five seconds after the
    last. Several may look at one bind, and each sees all."""

    bind: str
    looker: str = ""  # a name of the asker's own choice
    number: str = ""  # only from and to this one
    reveal: bool = False  # after bind.reveal


@command("endpoint.rate")
class RateEndpoint(Command):
    """Another pace of a whole account from now on, until a reload or a restart reads the configuration's."""

    endpoint: str
    parts_per_s: int  # 0: no limit of ours


@command("endpoints.reload")
class ReloadEndpoints(Command):
    """Endpoints, routes and rates as the configuration's file has them now; as SIGHUP, with an answer."""


@command("status")
class AskStatus(Command):
    """Live figures of the dispatcher (health.py): binds, lanes, writer, campaigns."""


@command("retries")
class AskRetries(Command):
    """What each command_status means: how often a message goes again, how far apart, until when."""
