"""Channels without binds: real Books, and a feeder over them."""

from __future__ import annotations

from typing import Any

from config import Endpoint
from config.settings import Dispatcher as Tuning
from dispatcher.daemon.channel import Channel
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.works import Works
from dispatcher.routes.router import Router


def new_channel(number: int = 0, **endpoint: Any) -> Channel:
    words = memoryview(bytearray(64)).cast("Q")
    made = Endpoint(**({"name": f"e{number}", "host": "127.0.0.1", "system_id": "v", "binds": 1} | endpoint))
    nobody = lambda *_: None  # noqa: E731
    return Channel(number, made, words, Tuning(), Works(), heard=nobody, changed=nobody, make_room=nobody)


def new_feeder(*channels: Channel) -> Feeder:
    made = list(channels) or [new_channel()]
    router = Router({channel.name: (channel.number, channel.endpoint.weight) for channel in made})
    return Feeder(made, router, 1.0)
