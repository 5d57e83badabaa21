"""A whole house in a test: store, dispatcher, simulator, real sockets; the simulator's log is the judge.

Two forms: the dispatcher in the test's own trio loop (in_house), or as `python -m dispatcher` (process=True). Times are
short (a bind comes back after 20 ms, a refused message after 100 ms), so that faults take their course in a second.
"""

from __future__ import annotations

import inspect
import os
import resource
import signal
import sys
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from config import Endpoint, Settings
from config.settings import Dispatcher as Tuning
from config.settings import Store as StoreSettings
from dispatcher.campaigns.campaign import load
from dispatcher.campaigns.recipients import recipients
from dispatcher.cli.demo_account import read_books
from dispatcher.cli.demo_judge import Line, Reply, judge, read_lines
from dispatcher.control import commands as c
from dispatcher.control.frames import Frames, frame
from dispatcher.daemon.dispatcher import Dispatcher
from dispatcher.daemon.run import Life, live
from dispatcher.errors import CommandRefused, StoreFull
from dispatcher.members.fields import define_field
from dispatcher.records.keys import parse_public_id
from dispatcher.smpp.smsc import Smsc, serve_smsc
from dispatcher.smpp.smsc_session import SmscOptions
from dispatcher.store import Store, ledger, open_store
from dispatcher.store.values import unpack
from dispatcher.store.verify import find_problems
from dispatcher.tenants.tenant import create_tenant
from dispatcher.text.coding import encode
from dispatcher.text.parts import parts
from tests.fakes.people import run_import
from tests.fakes.shop import do

SENDER, BRAND = "10690000", "Corner Shop"
FIRST_NUMBER = 4_915_100_000_000
WITHIN_S = float(
    os.environ.get("VOLLEY_WITHIN_S", 15)
)  # of any wait: far above what it takes, far below what a hanging suite costs
TEXT = "Hello {name}, you have {points|0} points"
SHOWN = ("binds", "totals", "lanes", "claimed_open", "in_flight", "campaigns", "faults", "held_receipts", "writer")
LONG_TEXT = "Hello {name}, " + "this is the long story of a shop that could not stop talking about itself. " * 4


Test = Callable[..., Awaitable[None]]


def in_house(
    members: int = 500,
    *,
    endpoint: dict[str, Any] | None = None,
    dispatcher: dict[str, Any] | None = None,
    store: dict[str, Any] | None = None,
    brand: str = BRAND,
    process: bool = False,
    started: bool = True,
    **smsc: Any,
) -> Callable[[Test], Callable[..., None]]:
    """Make `async def test(house, ...)` a test: members, settings and SmscOptions as given. Parameters of
    pytest.mark.parametrize above this decorator pass through."""

    def decorate(test: Test) -> Callable[..., None]:
        def run(tmp_path: Path, **parameters: Any) -> None:
            settings = quick_settings(tmp_path / "data", endpoint or {}, dispatcher or {}, store or {})
            numbers = make_members(settings.data, members, brand)
            house = House(settings, tmp_path / "smsc.log", numbers, process=process)
            options = SmscOptions(log=house.log, mo_parts=mo_parts, **smsc)
            trio.run(_hold, house, options, started, partial(test, house, **parameters))

        wanted = [p for name, p in inspect.signature(test).parameters.items() if name != "house"]
        place = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([place, *wanted])  # type: ignore[attr-defined]
        run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
        return run

    return decorate


async def _hold(house: House, options: SmscOptions, started: bool, test: Callable[[], Awaitable[None]]) -> None:
    with trio.fail_after(4 * WITHIN_S):
        async with trio.open_nursery() as nursery:
            house.nursery = nursery
            house.smsc = await nursery.start(lambda task_status: serve_smsc(options, task_status=task_status))
            house.port = house.smsc.port
            if started:
                await house.start()
            try:
                await test()
            finally:
                with trio.CancelScope(shield=True):
                    await house.end()
            nursery.cancel_scope.cancel()


def quick_settings(data: Path, endpoint: dict[str, Any], dispatcher: dict[str, Any], store: dict[str, Any]) -> Settings:
    usual: dict[str, Any] = {
        "name": "smsc", "host": "127.0.0.1", "system_id": "volley", "binds": 2, "window": 20,
        "response_timeout_s": 5.0, "reconnect_min_s": 0.02, "reconnect_max_s": 0.05,
    }  # fmt: skip
    tuning: dict[str, Any] = {"retry_s": 0.1, "fold_every_s": 0.05, "drain_s": 1.5}
    return Settings(
        data=data,
        store=StoreSettings(**({"sync": False} | store)),
        dispatcher=Tuning(**(tuning | dispatcher)),
        endpoints=(Endpoint(**(usual | endpoint)),),
    )


def make_members(data: Path, count: int, brand: str = BRAND) -> list[int]:
    """A store with one tenant, its field `name` and members with points; their numbers by member_no."""
    numbers = list(range(FIRST_NUMBER, FIRST_NUMBER + count))
    rows = "".join(f"+{number},Member {number % 1000},{number % 50}\n" for number in numbers)
    with open_store(data, write=True, create=True, sync=False) as store:
        tenant = c.CreateTenant(title="Corner Shop", region="DE", sender=SENDER, brand=brand)
        do(store, create_tenant, tenant, tenant=0)
        do(store, define_field, c.DefineField(title="name", kind="text", max_length=40))
        done = run_import(store, 1, f"phone,name,points\n{rows}".encode())
        assert done["members_imported"] == count, done
    return numbers


def mo_parts(text: str, reference: int) -> list[tuple[int, int, bytes]]:
    return [(part.esm_class, part.data_coding, part.octets) for part in parts(text, reference)]


@dataclass
class House:
    """What a test holds. `numbers` are the members' by member_no, which is their rank in a campaign to everyone."""

    settings: Settings
    log: Path
    numbers: list[int]
    smsc: Smsc = field(init=False)
    nursery: trio.Nursery = field(init=False)
    port: int = 0
    process: bool = False
    life: Life | None = None  # of a dispatcher in this process
    child: trio.Process | None = None
    store: Store | None = None
    _stop: trio.Event | None = None
    _ended: trio.Event | None = None

    @property
    def dispatcher(self) -> Dispatcher:
        """Of this process, while it lives."""
        assert self.life is not None
        return self.life.dispatcher

    def endpoint(self, **changed: Any) -> None:
        """Other settings of the endpoint from the next start on."""
        old = self.settings
        one = old.endpoints[0]
        fresh = Endpoint(**{name: getattr(one, name) for name in one.__slots__} | changed)
        self.settings = replace(old, endpoints=(fresh, *old.endpoints[1:]))

    # ---- the dispatcher's life

    async def start(self, file_octets: int | None = None) -> None:
        """The dispatcher, until its commands are heard. file_octets: how long a file its process may write."""
        self._place()
        if self.process:
            await self._start_process(file_octets)
            return
        self.store = self.store or open_store(self.settings.data, write=True, sync=False)
        self._stop, self._ended = trio.Event(), trio.Event()
        self.life = await self.nursery.start(self._live)

    def _place(self) -> None:
        """Where the simulators listen."""
        self.endpoint(port=self.port)

    @property
    def smscs(self) -> list[Smsc]:
        return [self.smsc]

    async def _live(self, *, task_status: trio.TaskStatus[Life]) -> None:
        assert self.store is not None and self._stop is not None and self._ended is not None
        try:
            await live(self.settings, self.store, self._stop.wait, task_status=task_status)
        finally:
            self.life = None
            self._ended.set()

    async def _start_process(self, file_octets: int | None) -> None:
        lines = []
        for name, table in (("store", self.settings.store), ("dispatcher", self.settings.dispatcher)):
            lines += [f"[{name}]", *_toml(table)]
        for name, tables in (("endpoint", self.settings.endpoints), ("route", self.settings.routes)):
            for table in tables:
                lines += [f"[[{name}]]", *_toml(table)]
        (self.settings.data / "volley.toml").write_text("\n".join(lines))
        self.child = await open_dispatcher(self.settings.data)
        if file_octets is not None:
            limit_files(self.child.pid, file_octets)
        await self.until(self._heard)
        self.store = self.store or open_store(self.settings.data)

    async def _heard(self) -> bool:
        assert self.child is not None and self.child.poll() is None, "the dispatcher ended"
        try:
            await self.do(c.AskStatus(), tenant=0)
        except OSError:
            return False
        return True

    async def stop(self) -> None:
        """As SIGTERM does; returns when it has ended."""
        if self.child is not None:
            self.child.send_signal(signal.SIGTERM)
            status = await self.child.wait()
            self.child = None
            assert status == 0, f"exit status {status}"
        elif self._stop is not None and self._ended is not None:
            self._stop.set()
            await self._ended.wait()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def end(self) -> None:
        """Whatever is left, at the end of a test that may have failed."""
        with trio.move_on_after(WITHIN_S):
            if self.child is not None:
                self.child.kill()
                await self.child.wait()
            elif self._stop is not None:
                await self.stop()
        if self.store is not None and (self._ended is None or self._ended.is_set()):
            self.store.close()

    # ---- commands

    async def do(self, command: Any, *, tenant: int = 1) -> dict[str, Any]:
        """The reply, after its commit. Raises CommandRefused."""
        envelope = c.Envelope(tenant=tenant, actor="test", at_ms=time.time_ns() // 1_000_000)
        if self.process:
            return await ask(self.settings.control_socket, command, envelope)
        assert self.life is not None
        try:
            reply, _ = await self.life.orders.execute(command, envelope)
        except StoreFull as exc:
            raise CommandRefused(507, "insufficient_storage", str(exc)) from exc
        return reply

    async def send(self, text: str = TEXT, **campaign: Any) -> int:
        """Create, preview and start a campaign to everyone; its id."""
        made = await self.do(c.CreateCampaign(title="news", text=text, **campaign))
        number = parse_public_id("cmp", made["id"])
        preview = await self.do(c.PreviewCampaign(campaign=number))
        await self.do(c.StartCampaign(campaign=number, token=preview["token"]))
        return number

    async def send_all(self, text: str = TEXT, **campaign: Any) -> int:
        """As `send`, and wait until it is done and every receipt has come."""
        number = await self.send(text, **campaign)
        await self.settled(number)
        return number

    async def status(self) -> dict[str, Any]:
        return await self.do(c.AskStatus(), tenant=0)

    # ---- what is known

    def state(self, campaign: int) -> str:
        assert self.store is not None
        with self.store.snapshot() as view:
            row = load(view, 1, campaign)
        assert row is not None
        return str(row["state"])

    def counts(self, campaign: int) -> dict[str, Any]:
        """The campaign's counters, which add up at any moment."""
        assert self.store is not None
        with self.store.snapshot() as view:
            counts = ledger.read_counts(view, campaign).summary(len(self.numbers))
        assert counts["audience"] == counts["unsent"] + counts["sent"] + sum(counts["skipped"].values())
        assert counts["unsent"] >= 0 and counts["sent"] == sum(counts["states"].values()), counts
        return counts

    def recipients(self, campaign: int) -> list[dict[str, Any]]:
        assert self.store is not None
        with self.store.snapshot() as view:
            return recipients(view, 1, campaign, after_rank=None, limit=len(self.numbers))

    def lines(self, number: int | None = None) -> list[Line]:
        """The simulator's log, or its lines for one number."""
        found = list(read_lines(self.log))
        return found if number is None else [line for line in found if line.destination == str(number)]

    def inbox(self) -> list[dict[str, Any]]:
        """What was heard from phones, oldest first."""
        assert self.store is not None
        with self.store.snapshot() as view:
            return [unpack(row) for _, row in view.range("inbound")]

    async def until(self, true: Callable[[], Any], within_s: float = WITHIN_S) -> None:
        """Wait until `true()` (or its awaited answer) is."""
        told = ""
        give_up = time.monotonic() + within_s
        while True:
            answer = true()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return
            if time.monotonic() > give_up:
                told = inspect.getsource(true).strip() if not isinstance(true, type(self.until)) else str(true)
                raise AssertionError(f"not within {within_s:g} s: {told}; {await self._shown()}")
            await trio.sleep(0.01)

    async def _shown(self) -> str:
        status = await self.status() if self.life or self.child else {}
        return f"{ {name: status.get(name) for name in SHOWN} } {self.smsc.summary()}"

    async def settled(self, campaign: int, awaiting: int = 0) -> None:
        """Until the campaign is done and folded, and all receipts but `awaiting` have come."""

        def moves() -> bool:
            states = self.counts(campaign)["states"]
            return bool(states["accepted"] > awaiting or states["claimed"] or states["retry_wait"])

        await self.until(lambda: self.state(campaign) == "done")
        await self.until(lambda: not moves())

    # ---- the judge

    def judge(self, campaign: int, *replies: Reply, resends: bool = False) -> dict[str, Any]:
        """The simulator's log against the ledger: nothing lost, nothing doubled, no line of anything else; the store
        adds up. Returns the counters."""
        assert self.store is not None
        with self.store.snapshot() as view:
            account = read_books(view, 1, campaign).account
            problems = list(find_problems(view))
        lines = self.lines()
        verdict = judge(account, lines, replies, resends=resends)
        assert (verdict.lost, verdict.duplicates_on_wire, verdict.replies_missing) == (0, 0, []), verdict
        summaries = [smsc.summary() for smsc in self.smscs]
        assert sum(summary["accepted"] for summary in summaries) == len(lines)
        for summary in summaries:
            assert summary["unexpected_answers"] <= summary["garbage_sent"], (
                "an answer to what was not asked on that connection"
            )
        if not resends:
            most = Counter((line.destination, line.octets_hash, line.part) for line in lines).most_common(1)
            assert not most or most[0][1] == 1, most
        assert not problems, [str(problem) for problem in problems]
        return self.counts(campaign)


def reply_to(number: int, text: str, what: str = "reply") -> Reply:
    """The line that an answer of ours must make, once."""
    return Reply(SENDER, str(number), zlib.crc32(encode(text)[1]), what)


async def ask(path: Path, command: Any, envelope: c.Envelope) -> dict[str, Any]:
    """One command over the control socket. Raises CommandRefused, OSError."""
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(frame({"id": 1, **c.to_wire(command, envelope)}))
        frames = Frames()
        while octets := await stream.receive_some():
            for answer in frames.receive(octets):
                if "reply" in answer:
                    return dict(answer["reply"])
                refused = answer["refused"]
                raise CommandRefused(refused["status"], refused["code"], refused["detail"])
    raise BrokenPipeError("the dispatcher ended before it answered")


async def open_dispatcher(data: Path) -> trio.Process:
    """`python -m dispatcher` on a folder; its log is dispatcher.log there."""
    with (data / "dispatcher.log").open("ab") as out:
        return await trio.lowlevel.open_process(
            [sys.executable, "-m", "dispatcher", "--data", str(data)], stdout=out, stderr=out, env=dict(os.environ)
        )


def limit_files(pid: int, octets: int) -> None:
    """How long a file a process may write: past it a write fails with EFBIG, as on a full disk with ENOSPC."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))


def _toml(table: Any) -> Iterator[str]:
    for name in table.__slots__:
        value = getattr(table, name)
        if name == "data":
            continue
        shown = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else value
        shown = list(value) if isinstance(value, tuple) else shown
        yield f"{name} = {shown}"
