"""A command to the running dispatcher; with none running, done here under the writer's lock.

Touches: the control socket, or the store. Blocking, one command a connection.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from config import Settings
from dispatcher.clock import SystemClock
from dispatcher.control.commands import Envelope, to_wire
from dispatcher.control.frames import Frames, frame
from dispatcher.errors import CommandRefused, DispatcherError, PeerBrokeProtocol, StoreLocked
from dispatcher.store import open_store

ANSWER_S = 120.0  # the longest command is a preview of some ten million members
STARTING_S = 5.0  # a dispatcher takes the writer's lock a moment before it listens, and gives it back a moment after


class NoAnswer(DispatcherError):
    """The dispatcher took the command and went silent: whether it was done is unknown."""


def send(settings: Settings, command: Any, envelope: Envelope, *, answer_s: float = ANSWER_S) -> dict[str, Any]:
    """The command's reply. Raises CommandRefused, NoAnswer, StoreLocked when neither way is open."""
    give_up = time.monotonic() + STARTING_S
    while True:
        reply = ask(settings, command, envelope, answer_s=answer_s)
        if reply is not None:
            return reply
        try:
            return _do_here(settings, command, envelope)
        except StoreLocked:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def ask(settings: Settings, command: Any, envelope: Envelope, *, answer_s: float = ANSWER_S) -> dict[str, Any] | None:
    """The running dispatcher's reply; None when none runs. Raises CommandRefused, NoAnswer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(answer_s)
        try:
            connection.connect(str(settings.control_socket))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return _ask(connection, command, envelope)


def listens(settings: Settings) -> bool:
    """Whether a dispatcher runs on this data folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(str(settings.control_socket)) == 0


def _ask(connection: socket.socket, command: Any, envelope: Envelope) -> dict[str, Any]:
    connection.sendall(frame({"id": 1, **to_wire(command, envelope)}))
    frames = Frames()
    messages: list[dict[str, Any]] = []
    try:
        while not messages:
            octets = connection.recv(1 << 16)
            if not octets:
                raise NoAnswer("the dispatcher ended before it answered; whether it was done is unknown")
            messages = frames.receive(octets)
    except TimeoutError as exc:
        raise NoAnswer(f"no answer within {connection.gettimeout():g} s; whether it was done is unknown") from exc
    except (ConnectionResetError, PeerBrokeProtocol) as exc:
        raise NoAnswer(f"the answer broke off ({exc}); whether it was done is unknown") from exc
    answer = messages[0]
    if "reply" in answer:
        return dict(answer["reply"])
    refused = answer.get("refused", answer)
    raise CommandRefused(
        refused["status"],
        refused["code"],
        refused["detail"],
        errors=refused.get("errors"),
        extra=refused.get("extra"),
    )


def _do_here(settings: Settings, command: Any, envelope: Envelope) -> dict[str, Any]:
    from dispatcher.daemon.handlers import run_locally  # every room: only when it is needed

    with open_store(settings.data, write=True, sync=settings.store.sync) as store:
        return run_locally(store, command, envelope, SystemClock().epoch_ms())
