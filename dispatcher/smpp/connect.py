"""[trio] From an address to a bound connection: connect, TLS, bind; every step has its deadline and its own refusal.

Touches: one socket. Rests on: SMPP v3.4 4.1 (bind), 2.2.1 (outbind); SMPP_FACTS 1 (what four octets tell), 7 (timers,
socket options), 13. smpplib makes the bind's PDU.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass

import trio
from smpplib.smpp import make_pdu

from config import Endpoint
from dispatcher.errors import BindLost, BindRefused, CannotConnect, PeerBrokeProtocol
from dispatcher.smpp import codec
from dispatcher.smpp.consts import COMMAND_LENGTH_MAX, RESPONSE, CommandId, Tag
from dispatcher.smpp.framing import bad_length
from dispatcher.smpp.pdu import Answer
from dispatcher.smpp.tls import Relay, secure

CONNECT_TIMEOUT_S = 5.0
TCP_USER_TIMEOUT_MS = 30_000
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; Python has no name for it
SEND_BUFFER_OCTETS = 256 << 10
NOT_SENT_OCTETS = 64 << 10

COMMANDS = {
    "trx": CommandId.BIND_TRANSCEIVER,
    "tx": CommandId.BIND_TRANSMITTER,
    "rx": CommandId.BIND_RECEIVER,
}


@dataclass(eq=False)
class Line:
    """A bound connection: `socket` is the pump's, `relay` lies between it and the wire when there is TLS."""

    socket: trio.socket.SocketType
    place: tuple[str, int]
    system_id: str = ""
    version: int = 0x34  # of SMPP, as the SMSC says; 0 when it does not
    relay: Relay | None = None

    async def aclose(self) -> None:
        if self.relay is not None:
            await self.relay.aclose()
        self.socket.close()


async def connect(
    endpoint: Endpoint, place: tuple[str, int], mode: str, stream: trio.SocketStream | None = None
) -> Line:
    """Bind as `mode` (trx, tx or rx), over `stream` where the SMSC called us. Raises CannotConnect, BindRefused,
    BindLost or PeerBrokeProtocol; nothing is left open then."""
    host, port = place
    if stream is None:
        stream = await _open(host, port)
    line: Line | None = None
    try:
        with trio.fail_after(endpoint.bind_timeout_s):
            _set_options(stream.socket)
            if endpoint.tls:
                wire = await secure(stream, endpoint, host)
                await _bind(wire, endpoint, mode, line := Line(stream.socket, place))
                line.relay = Relay(wire)
                line.socket = line.relay.inner
            else:
                await _bind(stream, endpoint, mode, line := Line(stream.socket, place))
            return line
    except BaseException as exc:
        await trio.aclose_forcefully(stream)
        if isinstance(exc, trio.TooSlowError):
            what = f"no answer to {COMMANDS[mode].name.lower()}" if line is not None else "no TLS handshake"
            raise BindLost(f"{what} in {endpoint.bind_timeout_s:g} s") from exc
        if isinstance(exc, OSError | trio.BrokenResourceError):
            raise BindLost(f"{exc.__cause__ or exc}") from exc
        raise


async def _open(host: str, port: int) -> trio.SocketStream:
    try:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            return await trio.open_tcp_stream(host, port)
    except socket.gaierror as exc:
        raise CannotConnect("name", f"{host}: {exc.strerror}") from exc
    except (trio.TooSlowError, OSError) as exc:
        raise CannotConnect("connect", f"{host}:{port}: {_why(exc)}") from exc


def _why(exc: Exception) -> str:
    """Of a failed connect; trio's own words are only that every address was tried."""
    cause = exc.__cause__ or exc
    causes = cause.exceptions if isinstance(cause, ExceptionGroup) else (cause,)
    told = (os.strerror(each.errno) if isinstance(each, OSError) and each.errno else str(each) for each in causes)
    return "; ".join(dict.fromkeys(filter(None, told))) or "no answer to connect"


def _set_options(sock: trio.socket.SocketType) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_OCTETS)
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOT_SENT_OCTETS)


async def _bind(stream: trio.abc.Stream, endpoint: Endpoint, mode: str, line: Line) -> None:
    command = COMMANDS[mode]
    pdu = make_pdu(
        command.name.lower(),
        client=None,
        system_id=endpoint.system_id,
        password=endpoint.password,
        system_type=endpoint.system_type,
        interface_version=0x34,
        addr_ton=0,
        addr_npi=0,
        sequence=1,
    )
    await stream.send_all(pdu.generate())
    answer = await read_pdu(stream)
    _, command_id, status, _ = struct.unpack(">IIII", answer[:16])
    if command_id == CommandId.GENERIC_NACK:
        raise BindRefused(status or 0xFF)
    if status != 0 or command_id != RESPONSE | command:
        raise BindRefused(status)
    told = codec.decode_answer(answer)
    if isinstance(told, Answer):
        line.system_id = told.text or ""
        version = told.tlvs.get(Tag.SC_INTERFACE_VERSION, b"")
        line.version = version[0] if version else 0


async def read_pdu(stream: trio.abc.ReceiveStream) -> bytes:
    """One PDU; its length is judged as soon as its four octets are there. Raises PeerBrokeProtocol, BindLost."""
    head = await _exactly(stream, 4)
    length = int.from_bytes(head)
    if not 16 <= length <= COMMAND_LENGTH_MAX:
        raise PeerBrokeProtocol(f"the answer to the bind is none: {bad_length(length).reason}")
    return head + await _exactly(stream, length - 4)


async def _exactly(stream: trio.abc.ReceiveStream, octets: int) -> bytes:
    got = b""
    while len(got) < octets:
        more = await stream.receive_some(octets - len(got))
        if not more:
            raise CannotConnect("closed", "closed before it was bound")
        got += more
    return got
