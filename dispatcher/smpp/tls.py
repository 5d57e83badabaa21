"""[trio] TLS for a bind: who is at the other end, and a relay between the encrypted connection and the pump's socket.

Touches: PEM files, the connection, a pair of sockets. Rests on: SMPP_FACTS 13 (TLS from the first octet, 1.2 or later,
name and chain, SNI, client certificate, pin, never plain by itself).

The pump reads and writes a descriptor without the GIL; OpenSSL is reached through Python. So the pump has one end of a
socketpair and two tasks carry octets between its other end and the SSLStream. What lies in the pair, 32 KiB each way,
counts as handed to a socket: the mark is past it, and it is uncertain when a bind ends. Measured over loopback with the
simulator in the same process: 320,000 submit_sm/s at window 1,000 instead of 334,000, 0.6 us of CPU more for both ends.
Weak spot: the relay runs in the dispatcher's thread, one record after another.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl

import trio

from config import Endpoint
from dispatcher.errors import CannotConnect

PAIR_OCTETS = 32 << 10  # bulk is kept out of buffers: a one-time code stands behind what lies here
RECORD_OCTETS = 16 << 10  # of TLS, at most
GOODBYE_S = 1.0


def context_of(endpoint: Endpoint) -> ssl.SSLContext:
    """What the endpoint's settings ask of a certificate. Raises CannotConnect when a file cannot be used."""
    files = f"tls_ca {endpoint.tls_ca}"
    try:
        context = ssl.create_default_context(cafile=endpoint.tls_ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if endpoint.tls_cert:
            files = f"tls_cert {endpoint.tls_cert}, tls_key {endpoint.tls_key}"
            context.load_cert_chain(endpoint.tls_cert, endpoint.tls_key)
    except (OSError, ssl.SSLError) as exc:
        raise CannotConnect("file", f"{files}: {_reason(exc)}") from exc
    if endpoint.tls_pin and not endpoint.tls_ca:  # a carrier with an authority of its own: the pin alone counts
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def secure(stream: trio.SocketStream, endpoint: Endpoint, host: str) -> trio.SSLStream[trio.SocketStream]:
    """The same connection after a handshake and a look at the certificate. Raises CannotConnect; the caller has the
    deadline."""
    name = endpoint.tls_server_name or host
    wrapped: trio.SSLStream[trio.SocketStream] = trio.SSLStream(
        stream, context_of(endpoint), server_hostname=name, https_compatible=True
    )
    try:
        await wrapped.do_handshake()
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise CannotConnect("certificate", f"the certificate of {name} is refused: {cause.verify_message}") from exc
        raise CannotConnect("tls", f"no TLS with {name}: {_reason(cause) or exc}") from exc
    check_pin(endpoint.tls_pin, wrapped.getpeercert(binary_form=True) or b"")
    return wrapped


def check_pin(pin: str, certificate: bytes) -> None:
    """Raises CannotConnect unless `pin` is empty, or the sha256 of the certificate (DER) or of its public key."""
    wanted = pin.replace(":", "").lower()
    if not wanted:
        return
    found = [hashlib.sha256(octets).hexdigest() for octets in (certificate, public_key_of(certificate)) if octets]
    if wanted not in found:
        raise CannotConnect("certificate", f"the certificate is not the pinned one; its sha256 is {', '.join(found)}")


def public_key_of(certificate: bytes) -> bytes:
    """SubjectPublicKeyInfo of a certificate (RFC 5280 4.1) as it stands there; b"" when it cannot be found."""
    try:
        at, _ = _inside(certificate, 0)  # Certificate
        at, end = _inside(certificate, at)  # tbsCertificate
        if certificate[at] == 0xA0:  # [0] version
            at = _after(certificate, at)
        for _field in ("serialNumber", "signature", "issuer", "validity", "subject"):
            at = _after(certificate, at)
        return certificate[at : _after(certificate, at)] if at < end else b""
    except IndexError:
        return b""


def _inside(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins and ends."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin])
    if begin + length > len(der):
        raise IndexError
    return begin, begin + length


def _after(der: bytes, at: int) -> int:
    return _inside(der, at)[1]


class Relay:
    """Carries octets between an encrypted connection and `inner`, the pump's; one side's end is the other's."""

    def __init__(self, wire: trio.SSLStream[trio.SocketStream]) -> None:
        self._wire = wire
        self.inner, self._outer = trio.socket.socketpair()
        for end in (self.inner, self._outer):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PAIR_OCTETS)
        self.why = ""  # how the encrypted side ended, when it said

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._out)
            nursery.start_soon(self._in)

    async def _out(self) -> None:
        try:
            while octets := await self._outer.recv(RECORD_OCTETS):
                await self._wire.send_all(octets)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
            self._ended(exc)

    async def _in(self) -> None:
        try:
            while octets := await self._wire.receive_some(RECORD_OCTETS):
                view = memoryview(octets)
                while view:
                    view = view[await self._outer.send(view) :]
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
            self._ended(exc)
        with contextlib.suppress(OSError):  # closed by the other task
            self._outer.shutdown(socket.SHUT_WR)  # the pump reads the end of the stream

    def _ended(self, exc: BaseException) -> None:
        self.why = self.why or _reason(exc.__cause__) or str(exc)
        self._outer.close()

    async def aclose(self) -> None:
        """What is on its way may still leave; then both sides end."""
        self.inner.close()
        with trio.move_on_after(GOODBYE_S, shield=True):
            try:
                while octets := await self._outer.recv(RECORD_OCTETS):
                    await self._wire.send_all(octets)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, OSError):
                pass
            self._outer.close()
            await self._wire.aclose()
        self._outer.close()
        await trio.aclose_forcefully(self._wire)


def _reason(exc: BaseException | None) -> str:
    if isinstance(exc, ssl.SSLError):
        return exc.reason or str(exc)
    return (exc.strerror if isinstance(exc, OSError) else "") or str(exc or "")
