"""A dress rehearsal: a campaign as a start now would send it, over binds of the same shape, to the built-in simulator.

Touches: the real store, read only, in one snapshot; a scratch folder (rehearse_folder.py); child processes of its own,
a simulator and a dispatcher, which end with it. Nothing goes to a real endpoint: the children get no environment of
ours, and settings in which every address is the simulator's.
Rests on: campaigns/rehearsal.py for what is copied, rehearse_heard.py for what was heard.

Time is real time: fsync, windows, rates of endpoint, tenant and campaign are those of a start; answers are as quick as
the simulator's, unless it is told delays. A share is faster by that share, and the time of the whole is extrapolated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import Settings, load
from dispatcher.apps.reports.campaign import report
from dispatcher.campaigns.progress import progress
from dispatcher.campaigns.rehearsal import ACTOR, Plan, copy_rows, differences, octets_of, plan, used, wire_parts
from dispatcher.campaigns.states import OVER
from dispatcher.cli.demo_children import Child, Children, smsc_port, waiting
from dispatcher.cli.rehearse_folder import Scratch, need_room, write_settings
from dispatcher.cli.rehearse_heard import Counted, Texts, count_log
from dispatcher.cli.talk import NoAnswer, ask
from dispatcher.clock import SystemClock
from dispatcher.control.commands import AskStatus, Envelope, RevealBind, StartCampaign, TraceBind
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import public_id
from dispatcher.store import Store, open_store
from dispatcher.tenants.tenant import need_tenant

LOOK_S = 0.1
BOUND_S = 20.0  # from the start of the dispatcher to every bind
QUIET_S = 5.0  # without a receipt, or without a part when the rest waits for its hour: it is over
REACHED = 0.7  # of a limit, over all the time with its slow ends: it was what limited
TOO_SHORT_S = 1.0  # to speak of a rate

Told = Callable[[str, int, int], None]  # step, done, of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    share: float = 1.0
    windows: bool = False
    keep: bool = False
    smsc: tuple[str, ...] = ()  # options of `volley smsc`


def rehearse(settings: Settings, tenant: int, campaign: int, wishes: Wishes, told: Told) -> dict[str, Any]:
    """The answer. Raises CommandRefused as a start now would, StoreFull without room, DemoFailed when a child ends."""
    if not settings.endpoints:
        raise CommandRefused(409, "no_endpoint", "there is no [[endpoint]]: a rehearsal has their binds and rates")
    with Scratch(settings.data, tenant, keep=wishes.keep) as folder, Children() as children:
        told("preview", 0, 0)
        made, copied = _lay_out(settings, tenant, campaign, wishes, folder, told)
        smsc = children.start(
            "the SMSC simulator", ["smsc", "--port", "0", "--log", str(folder / "smsc.log"), *wishes.smsc],
            folder / "smsc.out",
        )  # fmt: skip
        write_settings(folder, settings, smsc_port(smsc))
        sender = children.start("the dispatcher", ["dispatcher", "--data", str(folder)], folder / "dispatcher.out")
        scene = _Scene(load(data=folder, env={}), made, [smsc, sender])
        scene.await_binds()
        texts = scene.send(told)
        for child in (sender, smsc):
            child.stop()
        answer = _answer(scene, texts, settings, wishes.share) | {"copied": copied}
        return answer | {"simulator": _summary(smsc), "folder": str(folder) if wishes.keep else None}


def _lay_out(
    settings: Settings, tenant: int, campaign: int, wishes: Wishes, folder: Path, told: Told
) -> tuple[Plan, dict[str, Any]]:  # fmt: skip
    """The plan, and its store in the scratch folder, all of one snapshot."""
    rates = [endpoint.rate for endpoint in settings.endpoints]
    rate = sum(rates) if rates and all(rates) else 0
    with open_store(settings.data) as store, store.snapshot() as view:
        made = plan(
            view, tenant, campaign, SystemClock().epoch_ms(), rate=rate, share=wishes.share, windows=wishes.windows
        )
        rows, octets = octets_of(view, made)
        need_room(folder, octets, made.parts)
        began = time.monotonic()
        with open_store(folder, write=True, create=True, sync=False) as scratch:
            for done in copy_rows(view, made, scratch):
                told("copy", done, octets)
            scratch.env.sync(True)
    return made, {"rows": rows, "octets": octets, "took_s": round(time.monotonic() - began, 3)}


class _Scene:
    """The scratch dispatcher, from its first bind to the last receipt."""

    def __init__(self, settings: Settings, made: Plan, children: list[Child]) -> None:
        self.settings, self.made, self._children = settings, made, children
        self.log = settings.data / "smsc.log"
        self.limit = ""  # the dispatcher's own word for what kept it from going faster, as of the last look
        self._binds: list[tuple[str, str]] = []  # (endpoint, bind) of those that send

    def ask(self, command: Any, tenant: int = 0) -> dict[str, Any]:
        now_ms = SystemClock().epoch_ms()
        envelope = Envelope(tenant=tenant, actor=ACTOR, at_ms=now_ms, reason="samples of a rehearsal")
        reply = ask(self.settings, command, envelope)
        if reply is None:
            raise NoAnswer("the dispatcher of the rehearsal is not there")
        return reply

    def await_binds(self) -> None:
        """Raises DemoFailed when they do not come."""
        expected = sum(endpoint.binds for endpoint in self.settings.endpoints)
        for _ in waiting("the binds to the simulator are up", BOUND_S):
            for child in self._children:
                child.check()
            if not self.settings.control_socket.exists():
                continue
            binds = self.ask(AskStatus())["binds"]
            up = [bind for bind in binds if bind["state"] == "bound"]
            if len(up) == len(binds) >= expected:
                self._binds = [(bind["endpoint"], bind["name"]) for bind in up if bind["mode"] != "rx"]
                return

    def send(self, told: Told) -> Texts:
        """Start it and follow it to its end; the texts seen on the way."""
        texts = Texts({endpoint.name: endpoint.default_alphabet for endpoint in self.settings.endpoints})
        for endpoint in {endpoint for endpoint, _ in self._binds}:
            self.ask(RevealBind(bind=endpoint))
        self._listen(texts)  # the mirror begins with the first look
        self.ask(StartCampaign(campaign=self.made.campaign, token=self.made.seen["token"]), self.made.tenant)
        with open_store(self.settings.data) as store:
            self._follow(store, texts, told)
        return texts

    def _follow(self, store: Store, texts: Texts, told: Told) -> None:
        moved, moved_at = None, time.monotonic()
        while True:
            if not texts.enough:
                self._listen(texts)
            for child in self._children:
                child.check()
            live = self.ask(AskStatus())["campaigns"].get(public_id("cmp", self.made.campaign), {})
            self.limit = live.get("limit", self.limit)
            with store.snapshot() as view:
                found = progress(view, self.made.tenant, self.made.campaign)
            assert found is not None
            told("send", found["audience"] - found["unsent"], found["audience"])
            now = found["unsent"], found["pending"], found["retry_wait"]
            if now != moved:
                moved, moved_at = now, time.monotonic()
            quiet = time.monotonic() - moved_at > QUIET_S
            waits = 0 < found["unsent"] == live.get("waiting", 0)
            if (quiet and waits) or (found["state"] in OVER and (quiet or not found["pending"])):
                return
            time.sleep(LOOK_S)

    def _listen(self, texts: Texts) -> None:
        for endpoint, bind in self._binds:
            for pdu in self.ask(TraceBind(bind=bind, reveal=True))["pdus"]:
                if pdu["sent"]:
                    texts.take(endpoint, pdu["octets"])


def _answer(scene: _Scene, texts: Texts, settings: Settings, share: float) -> dict[str, Any]:
    made, heard = scene.made, count_log(scene.log)
    with open_store(scene.settings.data) as store, store.snapshot() as view:
        found = report(view, made.tenant, made.campaign, SystemClock().epoch_ms())
        sent, tenant = used(view, made), need_tenant(view, made.tenant)
    assert found is not None
    rate = heard.parts / heard.took_s if heard.took_s >= TOO_SHORT_S else None
    whole = wire_parts(made.whole)
    different = differences(made.seen, sent, found["skipped"])
    if heard.parts != found["parts"]["accepted"]:
        different.append(f"parts: {found['parts']['accepted']:,} answered, {heard.parts:,} in the simulator's log")
    limits = [("tenant_rate", tenant.rate, heard.parts), ("campaign_rate", _campaign_rate(made), heard.parts)]
    accepted = {one["endpoint"]: one["parts"] for one in found["endpoints"]["data"] if one["what"] == "accepted"}
    limits += [("endpoint_rate", endpoint.rate, accepted.get(endpoint.name, 0)) for endpoint in settings.endpoints]
    return {
        "id": found["id"],
        "title": found["title"],
        "share": share,
        "messages": sent.messages,
        "skipped": found["skipped"],
        "unsent": found["unsent"],
        "parts": sent.parts,
        "billed_parts": sent.billed,
        "cost_micros": None if made.seen["cost_micros"] is None else sent.micros,
        "currency": made.seen["currency"],
        "differences": different,
        "took_s": round(heard.took_s, 3),
        "parts_per_s": round(rate, 1) if rate else None,
        "limited_by": _limit(limits, heard.took_s, scene.limit),
        "whole_takes_s": _whole_takes(heard, whole, share),
        "extrapolated": share < 1,
        "endpoints": found["endpoints"]["data"],
        "errors": found["errors"],
        "retries": found["retries"],
        "funnel": found["funnel"],
        "delivery_s": found["delivery_s"],
        "passed_over": made.passed_over,
        "preview": {
            name: value for name, value in made.whole.items() if name not in ("token", "id", "version", "samples")
        },
        "samples": texts.samples(scene.log),
    }


def _campaign_rate(made: Plan) -> int:
    eta = made.seen["eta"]
    return int(eta["parts_per_s"] or 0) if eta["limit"] == "campaign_rate" else 0


def _limit(limits: list[tuple[str, int, int]], took_s: float, live: str) -> str | None:
    """The first (name, parts/s, parts) that was reached; else the dispatcher's word. None: too short to tell."""
    if took_s < TOO_SHORT_S:
        return None
    reached = (name for name, limit, parts in limits if limit and parts >= REACHED * limit * took_s)
    return next(reached, live or None)


def _whole_takes(heard: Counted, whole: int, share: float) -> float | None:
    if share == 1:
        return round(heard.took_s, 1)
    return round(heard.took_s * whole / heard.parts, 1) if heard.parts and heard.took_s >= TOO_SHORT_S else None


def _summary(smsc: Child) -> dict[str, Any]:
    """What the simulator says of itself, once it has ended."""
    try:
        said: dict[str, Any] = json.loads(smsc.tail(1))
    except ValueError:
        return {}
    return said
