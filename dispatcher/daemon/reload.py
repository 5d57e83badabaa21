"""[trio] SIGHUP, `volley smpp reload`: endpoints, routes and rates are read anew; what did not change keeps its binds.

Touches: the configuration's file, the channels. Rests on: DESIGN 9. A file that holds an error changes nothing: the old
settings stay, and the log and the status say why. Other sections are read at a start only, which is said too.
"""

from __future__ import annotations

import contextlib
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
import trio

import config
from config import Endpoint, SettingError, Settings
from config.rules import nearest
from dispatcher.daemon.channel import Channel
from dispatcher.daemon.resume import index
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.smpp.pump import POOLS
from dispatcher.store.endpoints import endpoint_numbers, number_endpoints

if TYPE_CHECKING:
    from dispatcher.daemon.dispatcher import Dispatcher

AT_START = ("store", "api", "dispatcher", "limits", "log")  # sections that a reload does not change
FIXED = ("receipt_ids",)  # of an endpoint: the index of ids is made for it
EMPTY_S = 0.02

log = structlog.get_logger("reload")


async def hear_reloads(d: Dispatcher) -> None:
    """Until cancelled."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            with contextlib.suppress(CommandRefused):
                await apply_settings(d, fresh_settings(d))


def fresh_settings(d: Dispatcher) -> Settings:
    """The configuration as its file has it now. Raises CommandRefused for one that holds an error."""
    try:
        return config.load(d.settings.file, d.settings.data)
    except SettingError as exc:
        d.reload_error = str(exc)
        log.error("reload_refused", reason=str(exc))
        raise CommandRefused(422, "settings_wrong", f"{exc}; the settings of before stay in force") from exc


def with_rate(d: Dispatcher, name: str, parts_per_s: int) -> tuple[Channel, Endpoint]:
    """The channel of an endpoint, and its settings with this rate. Raises CommandRefused 404 or 422."""
    found = {channel.name: channel for channel in d.channels if channel.connects and not channel.leaving}
    if name not in found:
        near = nearest(name, found)
        raise CommandRefused(
            404, "not_found", f"no endpoint {name!r}: there are {', '.join(found) or 'none'}",
            extra={"did_you_mean": near} if near else None,
        )  # fmt: skip
    try:
        return found[name], replace(found[name].endpoint, rate=parts_per_s)
    except SettingError as exc:
        wrong = {"pointer": "/parts_per_s", "code": "invalid_value", "detail": exc.rule}
        raise CommandRefused(422, "invalid", f"parts_per_s {parts_per_s}: {exc.rule}", errors=[wrong]) from exc


async def apply_settings(d: Dispatcher, fresh: Settings) -> dict[str, list[str]]:
    """Make the endpoints and routes those of `fresh`; returns the names added, changed, removed and what is left as it
    was. Raises StoreFull when there is no room for a new endpoint's number."""
    lines, old = d.lines, d.settings
    here = {c.name: c for c in d.channels if c.connects and not c.leaving}
    wanted = {endpoint.name: endpoint for endpoint in fresh.endpoints}
    done: dict[str, list[str]] = {"added": [], "changed": [], "removed": [], "needs_restart": []}
    done["needs_restart"] = [name for name in AT_START if getattr(old, name) != getattr(fresh, name)]
    d.settings = lines.settings = replace(old, endpoints=fresh.endpoints, routes=fresh.routes)
    for name, channel in here.items():
        if name not in wanted:
            done["removed"].append(name)
            channel.leaving = True
            lines.start(_leave, d, channel)
        elif wanted[name] != channel.endpoint:
            kept = {key: getattr(channel.endpoint, key) for key in FIXED}
            if any(getattr(wanted[name], key) != value for key, value in kept.items()):
                done["needs_restart"].append(f"endpoint {name}: {', '.join(FIXED)}")
            done["changed"].append(name)
            channel.replace(replace(wanted[name], **kept))
    for name in wanted:
        if name not in here:
            done["added"].append(name)
            await _enter(d, wanted[name])
    d.reload_error = ""
    lines.read_routes()
    log.info("reloaded", **{what: names for what, names in done.items() if names})
    d.works.wake()
    return done


async def _enter(d: Dispatcher, endpoint: Endpoint) -> None:
    """A new endpoint, or one that comes back: its number, its ids that still await their receipt, its binds."""

    def step(view: View) -> tuple[Changes, None]:
        return number_endpoints(view, [endpoint.name]), None

    await d.works.do(step)
    with d.store.snapshot() as view:
        number = endpoint_numbers(view)[endpoint.name]
        while (before := d.feeder.channel(number)) is not None and before.connects:
            await trio.sleep(EMPTY_S)  # it is just leaving
        channel = d.lines.make(number, endpoint)
    with d.store.snapshot() as view:
        held_since_ms = d.clock.epoch_ms() - int(2 * d.settings.holding_s * 1000) - 60_000
        index(view, [channel], d.feeder, held_since_ms)
    d.lines.add(channel)


async def _leave(d: Dispatcher, channel: Channel) -> None:
    """An endpoint that is configured no more: its windows are answered, what is left is for the others."""
    await channel.pool.drain(d.settings.dispatcher.drain_s)
    d.lines.cut_off(channel)
    await trio.sleep(EMPTY_S)
    while any(map(channel.book.queued, POOLS)) or channel.book.journal_records_waiting:
        channel.give_back()
        d.works.wake()
        await trio.sleep(EMPTY_S)
    with trio.CancelScope(shield=True):
        await d.works.do(_nothing)  # whatever it gave back is on disk and handed on
    d.lines.remove(channel)
    log.info("endpoint_left", endpoint=channel.name)


def _nothing(_: View) -> tuple[Changes, Any]:
    return Changes(), None
