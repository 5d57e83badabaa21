"""[trio] Where an SMSC may call and tell us to bind: only one that is configured, only to say outbind.

Touches: a listening socket. Rests on: SMPP v3.4 2.2.1 and 4.1.7 (the bind then goes over the same connection);
SMPP_FACTS 7: a hint, from a configured peer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

import structlog
import trio

from config import Endpoint
from config.rules import place
from dispatcher.errors import DispatcherError
from dispatcher.smpp import codec
from dispatcher.smpp.connect import read_pdu
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.pdu import Unparsed

SAY_S = 5.0  # from the connection to its outbind
CALLERS_MAX = 16

log = structlog.get_logger("smpp")


async def listen_for_outbind(
    endpoint: Endpoint, take: Callable[[trio.SocketStream], bool],
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:  # fmt: skip
    """Until cancelled. take: whether a bind takes the connection over, which is then its own. Started with the port."""
    host, port = place("outbind_listen", endpoint.outbind_listen)
    listeners = await trio.open_tcp_listeners(port, host=host)
    task_status.started(listeners[0].socket.getsockname()[1])
    callers = trio.CapacityLimiter(CALLERS_MAX)
    await trio.serve_listeners(partial(_answer, endpoint, take, callers), listeners)


async def _answer(
    endpoint: Endpoint,
    take: Callable[[trio.SocketStream], bool],
    callers: trio.CapacityLimiter,
    stream: trio.SocketStream,
) -> None:
    caller = stream.socket.getpeername()[0]
    try:
        callers.acquire_on_behalf_of_nowait(stream)
        if caller not in await _known(endpoint):
            log.warning(
                "outbind_refused", endpoint=endpoint.name, caller=caller, reason="not an address of the endpoint"
            )
            return
        with trio.fail_after(SAY_S):
            header = codec.decode_header(await read_pdu(stream))
        if isinstance(header, Unparsed) or header.command_id != CommandId.OUTBIND:
            log.warning("outbind_refused", endpoint=endpoint.name, caller=caller, reason="said something else")
            return
        own = trio.SocketStream(stream.socket.dup())  # the listener closes what it gave us
        taken = take(own)
        if not taken:
            await trio.aclose_forcefully(own)
        log.info("outbind", endpoint=endpoint.name, caller=caller, taken=taken)
    except (trio.WouldBlock, trio.TooSlowError, trio.BrokenResourceError, OSError, DispatcherError) as exc:
        log.warning("outbind_refused", endpoint=endpoint.name, caller=caller, reason=str(exc) or type(exc).__name__)
    finally:
        if stream in callers.statistics().borrowers:
            callers.release_on_behalf_of(stream)


async def _known(endpoint: Endpoint) -> set[str]:
    """Addresses that the endpoint's hosts have now."""
    found: set[str] = set()
    for host, port in endpoint.places:
        try:
            answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            continue
        found |= {str(answer[4][0]) for answer in answers}
    return found
