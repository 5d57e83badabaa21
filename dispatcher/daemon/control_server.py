"""[trio] The Unix socket: a command in, a reply after its commit. Each connection may have many commands at once.

Touches: control.sock in the data folder. Frames and their words: control/frames.py, admin/link.py.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
import trio

from dispatcher.control.commands import Envelope, from_wire
from dispatcher.control.frames import Frames, frame
from dispatcher.errors import CommandRefused, PeerBrokeProtocol, StoreFull

AT_ONCE = 512  # commands of one connection without an answer
READ_OCTETS = 1 << 18

Execute = Callable[[Any, Envelope], Awaitable[tuple[dict[str, Any], bool]]]

log = structlog.get_logger("control")


async def serve_control(
    path: Path, execute: Execute, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Listen until cancelled. An older socket file is ours to remove: whoever calls holds the writer's lock."""
    path.unlink(missing_ok=True)
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await listener.bind(str(path))
    os.chmod(path, 0o660)
    listener.listen(64)
    try:
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                connection, _ = await listener.accept()
                nursery.start_soon(_connection, connection, execute)
    finally:
        listener.close()
        path.unlink(missing_ok=True)


async def _connection(connection: trio.socket.SocketType, execute: Execute) -> None:
    frames = Frames()
    lock = trio.Lock()
    limit = trio.CapacityLimiter(AT_ONCE)
    try:
        async with trio.open_nursery() as nursery:
            while octets := await connection.recv(READ_OCTETS):
                for message in frames.receive(octets):
                    nursery.start_soon(_answer, connection, lock, limit, message, execute)
            nursery.cancel_scope.cancel()
    except (OSError, PeerBrokeProtocol, trio.BrokenResourceError) as exc:
        log.warning("control_connection", reason=str(exc))
    except BaseExceptionGroup as group:
        _, rest = group.split((OSError, PeerBrokeProtocol, trio.BrokenResourceError))
        if rest is not None:
            raise rest from None  # only that: a broken connection while we are cancelled is no crash
    finally:
        connection.close()


async def _answer(
    connection: trio.socket.SocketType,
    lock: trio.Lock,
    limit: trio.CapacityLimiter,
    message: dict[str, Any],
    execute: Execute,
) -> None:
    answer: dict[str, Any] = {"id": message.get("id")}
    async with limit:
        try:
            command, envelope = from_wire(message)
        except (KeyError, TypeError) as exc:
            answer["refused"] = _refused(CommandRefused(400, "invalid", f"not a command of this version: {exc}"))
        else:
            try:
                answer["reply"], replayed = await execute(command, envelope)
                if replayed:
                    answer["replayed"] = True
            except CommandRefused as exc:
                answer["refused"] = _refused(exc)
            except StoreFull as exc:
                answer["refused"] = _refused(CommandRefused(507, "insufficient_storage", str(exc)))
            except Exception as exc:
                log.exception("command_failed", command=message.get("command"))
                answer["refused"] = _refused(CommandRefused(500, "internal", f"{type(exc).__name__}: {exc}"))
    octets = memoryview(frame(answer))
    async with lock:
        while octets:
            octets = octets[await connection.send(octets) :]


def _refused(exc: CommandRefused) -> dict[str, Any]:
    return {"status": exc.status, "code": exc.code, "detail": exc.detail, "errors": exc.errors, "extra": exc.extra}
