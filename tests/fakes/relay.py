"""A road between two TCP ports that can go bad without either end's being told: no netfilter, no root.

What it swallows is taken from the one end and never reaches the other, both ways, as behind a firewall that forgot the
connection. What it holds it does not even read, so the sender's window closes; the other way goes on. Only connections
that exist are hit: whoever connects anew finds the road good.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

RECEIVE_BUFFER = 4_096  # small, so that what is held fills the sender's buffers soon


@dataclass(eq=False)
class Road:
    """One connection through the relay."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    swallows: bool = False
    holds: bool = False


@dataclass(eq=False)
class Relay:
    """From `port` to `target`, which may be another from the next connection on."""

    port: int
    target: int
    connections: int = 0
    roads: set[Road] = field(default_factory=set)

    def swallow(self) -> None:
        for road in self.roads:
            road.swallows = True

    def hold(self) -> None:
        for road in self.roads:
            road.holds = True

    def cut(self) -> None:
        for road in self.roads:
            road.scope.cancel()

    async def serve(self, near: trio.SocketStream) -> None:
        self.connections += 1
        road = Road()
        self.roads.add(road)
        try:
            with road.scope:
                async with await trio.open_tcp_stream("127.0.0.1", self.target) as far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, road, near, far, True)
                    nursery.start_soon(self._carry, road, far, near, False)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.roads.discard(road)

    async def _carry(self, road: Road, source: trio.SocketStream, sink: trio.SocketStream, held: bool) -> None:
        async for octets in source:
            if not road.swallows:
                await sink.send_all(octets)
            if held and road.holds:
                await trio.sleep_forever()
        road.scope.cancel()


@asynccontextmanager
async def relay_to(target: int, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Relay]:
    listeners = await trio.open_tcp_listeners(port, host=host)
    for listener in listeners:
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    relay = Relay(listeners[0].socket.getsockname()[1], target)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, relay.serve, listeners)
        yield relay
        nursery.cancel_scope.cancel()
