"""Kannel's HTTP interface at its best: WINDOW connections kept alive. See __init__.py for arguments."""

import asyncio
import re
import sys

import uvloop

HOST, PORT, FIRST, COUNT, WINDOW, RECEIPTS = sys.argv[1], *map(int, sys.argv[2:])
TEXT = "Hello+Anna,+you+have+1234+points:+today+everything+in+the+shop+is+half+price"
REQUEST = (
    "GET /cgi-bin/sendsms?username=peer&password=peer&from=10690000&to={}&text=" + TEXT
    + ("&dlr-mask=3" if RECEIPTS else "") + " HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
)  # fmt: skip
LENGTH = re.compile(rb"(?i)\r\ncontent-length:\s*(\d+)")
numbers = iter(range(FIRST, FIRST + COUNT))


class Sender(asyncio.Protocol):
    """One connection; `over` is done when there are no more numbers, or with what went wrong."""

    def __init__(self, over):
        self.over, self.held = over, b""

    def connection_made(self, transport):
        self.transport = transport
        self.ask()

    def ask(self):
        number = next(numbers, None)
        if number is None:
            self.transport.close()
        else:
            self.transport.write(REQUEST.format(number).encode())

    def data_received(self, data):
        self.held += data
        head, end, body = self.held.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or (length and len(body) < int(length[1])):
            return
        if b" 202 " not in head.partition(b"\r\n")[0] + b" " or not length:
            self.over.set_exception(RuntimeError(f"sendsms answers {self.held[:80]!r}"))
            self.transport.close()
            return
        self.held = b""
        self.ask()

    def connection_lost(self, exc):
        if not self.over.done():
            self.over.set_exception(exc) if exc else self.over.set_result(None)


async def main():
    loop = asyncio.get_running_loop()
    senders = [loop.create_future() for _ in range(WINDOW)]
    for over in senders:
        await loop.create_connection(lambda over=over: Sender(over), HOST, PORT)
    await asyncio.gather(*senders)
    if next(numbers, None) is not None:
        raise RuntimeError("the connections were closed before the last number")


uvloop.run(main())
