"""A house with several endpoints, each with a simulator of its own; all their logs together are the judge's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from config import Endpoint, Route
from dispatcher.cli.demo_judge import Line, read_lines
from dispatcher.smpp.smsc import Smsc, serve_smsc
from dispatcher.smpp.smsc_session import SmscOptions
from tests.fakes.house import WITHIN_S, House, Test, make_members, mo_parts, quick_settings

USUAL = {"binds": 2, "window": 20, "response_timeout_s": 5.0, "reconnect_min_s": 0.02, "reconnect_max_s": 0.05}


@dataclass
class Houses(House):
    """`of[name]` is an endpoint's simulator; `logs[name]` what it accepted."""

    of: dict[str, Smsc] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)

    @property
    def smscs(self) -> list[Smsc]:
        return list(self.of.values())

    def _place(self) -> None:
        ends = tuple(
            replace(e, port=self.of[e.name].port if e.name in self.of else e.port) for e in self.settings.endpoints
        )
        self.settings = replace(self.settings, endpoints=ends)

    def lines(self, number: int | None = None) -> list[Line]:
        return [line for name in self.logs for line in self.lines_of(name) if number in (None, int(line.destination))]

    def lines_of(self, name: str) -> list[Line]:
        return list(read_lines(self.logs[name])) if self.logs[name].exists() else []

    def down(self, name: str, how: str = "rst") -> None:
        """Its connections end and no bind is taken."""
        self.of[name].change(refuse_binds=-1)
        self.of[name].close_all(how)

    def up(self, name: str) -> None:
        self.of[name].change(refuse_binds=0)

    async def bound(self, *names: str) -> None:
        """Until each of these has all its binds."""
        channels = {c.name: c for c in self.dispatcher.channels}
        await self.until(lambda: all(channels[n].pool.bound == channels[n].endpoint.binds for n in names))


def in_houses(
    members: int = 600, *names: str, endpoints: dict[str, dict[str, Any]] | None = None, routes: Sequence[Route] = (),
    dispatcher: dict[str, Any] | None = None, process: bool = False, started: bool = True, **smsc: Any,
) -> Callable[[Test], Callable[..., None]]:  # fmt: skip
    """As in_house, with an endpoint and a simulator for each name ("a" and "b")."""
    mine: dict[str, dict[str, Any]] = {name: {} for name in names or ("a", "b")} | (endpoints or {})

    def decorate(test: Test) -> Callable[..., None]:
        def run(tmp_path: Path, **parameters: Any) -> None:
            settings = quick_settings(tmp_path / "data", {}, dispatcher or {}, {})
            ends = [{"name": n, "host": "127.0.0.1", "system_id": "volley"} | USUAL | keys for n, keys in mine.items()]
            settings = replace(settings, endpoints=tuple(Endpoint(**keys) for keys in ends), routes=tuple(routes))
            house = Houses(settings, tmp_path / "none", make_members(settings.data, members), process=process)
            house.logs = {name: tmp_path / f"{name}.log" for name in mine}
            trio.run(_hold, house, smsc, started, partial(test, house, **parameters))

        wanted = [p for name, p in inspect.signature(test).parameters.items() if name != "house"]
        place = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([place, *wanted])  # type: ignore[attr-defined]
        run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
        return run

    return decorate


async def _hold(house: Houses, smsc: dict[str, Any], started: bool, test: Any) -> None:
    with trio.fail_after(4 * WITHIN_S):
        async with trio.open_nursery() as nursery:
            house.nursery = nursery
            for name, log in house.logs.items():
                house.of[name] = await nursery.start(serve, SmscOptions(log=log, mo_parts=mo_parts, **smsc))
            house.smsc = house.smscs[0]
            if started:
                await house.start()
            try:
                await test()
            finally:
                with trio.CancelScope(shield=True):
                    await house.end()
            nursery.cancel_scope.cancel()


async def serve(options: SmscOptions, *, task_status: trio.TaskStatus[Smsc] = trio.TASK_STATUS_IGNORED) -> None:
    await serve_smsc(options, task_status=task_status)
