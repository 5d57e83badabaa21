"""An admin process as it is: uvicorn on loopback, a Unix socket behind it, a real store, the real handlers.

The dispatcher's place is taken by a server that runs each command through daemon.handlers.execute: the same
handlers and the same frames, without binds.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from admin.app import create_app
from config.settings import Settings
from dispatcher.clock import FakeClock
from dispatcher.control.commands import AskRetries, AskStatus, CreateKey, Envelope, from_wire
from dispatcher.control.frames import Frames, frame
from dispatcher.daemon.handlers import execute, run_locally
from dispatcher.daemon.retries import table
from dispatcher.errors import CommandRefused
from dispatcher.members.edit_jobs import job_of
from dispatcher.members.import_job import ImportJob
from dispatcher.members.import_restore import UndoJob
from dispatcher.members.importer import FINAL, need_import, read_import, waits
from dispatcher.records.changes import Changes
from dispatcher.routes.ported import write_all
from dispatcher.store import Store, open_store
from dispatcher.tenants.keys import hash_secret

OPERATOR = "vk_operator-of-the-tests-0123456789abcdef"
STATUS = {
    "binds": [
        {"endpoint": "main", "bind": 0, "state": "bound", "submits": 70, "responses": 69, "receipts": 60},
        {"endpoint": "main", "bind": 1, "state": "waiting", "submits": 0, "responses": 0, "receipts": 0},
    ],
    "rates": {"submits_per_s": 7.0, "accepted_per_s": 6.0, "receipts_per_s": 5.0},
    "totals": {"submits": 90, "accepted": 80, "uncertain": 1},
    "faults": {"unparsed": 3},
    "in_flight": 1,
    "claim_credit": 700,
    "held_receipts": 2,
    "writer": {"commits": 5, "commit_ms_p50": 1.5, "commit_ms_p99": 3.0, "period_ms": 4.0},
    "kept_ids": {"ids": 400_000, "segments": 2, "octets": 3_600_000, "oldest_ms": 1_789_000_000_000, "days": 37.0},
    "anon_mb": 40.0,
    "store_octets": 4096,
    "uptime_s": 3.5,
    "campaigns": {},
}


@dataclass
class Dispatcher:
    """The other end of the control socket, which a test may stop, start and make silent."""

    store: Store
    path: Path
    clock: FakeClock
    silent: bool = False
    seen: list[Any] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _importing: set[int] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _import(self, tenant: int, import_id: int) -> None:
        """What the daemon does for an import: its parser beside it, its slices between commits; its undo."""
        with self.store.snapshot() as view:
            row = need_import(view, tenant, import_id)
        if import_id in self._importing or row["state"] in FINAL or waits(row):
            return
        self._importing.add(import_id)
        try:
            await self._drive(tenant, import_id, row["state"] == "undoing")
        finally:
            self._importing.discard(import_id)
        await self._import(tenant, import_id)  # a commit or an undo that was asked for in the meantime

    async def _drive(self, tenant: int, import_id: int, undoing: bool) -> None:
        if undoing:
            undo = UndoJob(tenant, import_id)
            while changes := self._slice(undo):
                self.store.apply(changes)
            return
        job = ImportJob(self.store.folder, tenant, import_id, run_rows=1000)
        with self.store.snapshot() as view:
            job.prepare(view)
        child = await asyncio.create_subprocess_exec(*job.child_argv(), stdout=asyncio.subprocess.PIPE)
        assert child.stdout is not None
        try:
            while not job.finished:
                line = await child.stdout.readline()
                job.heard(line)
                if not line:
                    await child.wait()
                    job.child_ended()
                while changes := self._slice(job):
                    self.store.apply(changes)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
            job.close()

    def _edit(self, tenant: int, job_id: int) -> None:
        """An erasure's or a bulk edit's slices, all at once."""
        with self.store.snapshot() as view:
            job = job_of(tenant, job_id, read_import(view, tenant, job_id) or {})
        while job is not None and not job.finished:
            with self.store.begin_write() as view:
                changes = job.next_slice(view, self.clock.epoch_ms())
                if changes is None:
                    return
                view.apply(changes)

    def _slice(self, job: ImportJob | UndoJob) -> Changes | None:
        with self.store.snapshot() as view:
            return job.next_slice(view, self.clock.epoch_ms())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        frames = Frames()
        try:
            while data := await reader.read(1 << 16):
                for message in frames.receive(data):
                    if not self.silent:
                        writer.write(frame({"id": message["id"], **self.answer(message)}))
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        command, envelope = from_wire(message)
        self.seen.append((command, envelope))
        if isinstance(command, AskStatus):
            return {"reply": STATUS}
        if isinstance(command, AskRetries):
            return {"reply": {"data": table(retry_s=1.0, tries_max=3)}}
        try:
            if command.name == "route.ported":
                write_all(self.store, (self.store.folder / command.spool).read_bytes())
            with self.store.begin_write() as view:
                changes, reply, replayed = execute(view, command, envelope, self.clock.epoch_ms())
                view.apply(changes)
            if command.name.startswith("import.") and not replayed:
                task = asyncio.create_task(self._import(envelope.tenant, command.import_id))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if "job" in reply and not replayed:
                self._edit(envelope.tenant, reply["job"])
            return {"reply": reply, "replayed": replayed}
        except CommandRefused as exc:
            shown = {name: getattr(exc, name) for name in ("status", "code", "detail", "errors", "extra")}
            return {"refused": shown}


class Site:
    """Admin and dispatcher in one thread with one loop; `http` is a customer with the operator's key."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data)
        self.clock = FakeClock()
        self.store = open_store(data, write=True, create=True, sync=False)
        self.dispatcher = Dispatcher(self.store, self.settings.control_socket, self.clock)
        self.app = create_app(self.settings, opener=lambda: self.store, clock=self.clock)
        self._clients: list[httpx.Client] = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10)
        self.http = self.as_key(OPERATOR)

    def as_key(self, secret: str, tenant: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {secret}"} | ({"X-Tenant": tenant} if tenant else {})
        self._clients.append(httpx.Client(base_url=self.url, headers=headers, timeout=30))
        return self._clients[-1]

    def tenant(self, title: str = "Bäckerei", **fields: Any) -> str:
        answer = self.http.post("/v1/tenants", json={"title": title, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def key(self, tenant: str, *scopes: str) -> httpx.Client:
        answer = self.http.post(
            "/v1/keys", json={"title": "test", "scopes": scopes or ["*"]}, headers={"X-Tenant": tenant}
        )
        assert answer.status_code == 201, answer.text
        return self.as_key(answer.json()["secret"])

    def do(self, command: Any, tenant: int = 0) -> dict[str, Any]:
        """A command of the test's own, on the store's thread."""
        now = self.clock.epoch_ms()
        envelope = Envelope(tenant=tenant, actor="test", at_ms=now)
        return self.call(lambda: run_locally(self.store, command, envelope, now))  # type: ignore[no-any-return]

    def call(self, what: Any) -> Any:
        """`what()` on the site's loop; a coroutine it returns is awaited."""

        async def run() -> Any:
            answer = what()
            return await answer if asyncio.iscoroutine(answer) else answer

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join(10)
        self.store.close()

    def _run(self) -> None:
        # the protocol is named, or asyncio leaves Nagle on and each answer takes 40 ms
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
            listening.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            config = uvicorn.Config(self.app, http="httptools", ws="none", log_config=None, timeout_graceful_shutdown=1)
            self._server = uvicorn.Server(config)
            asyncio.run(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        await self.dispatcher.start()
        serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.005)
        operator = CreateKey(for_tenant=0, title="operator", scopes=["*"], secret_sha256=hash_secret(OPERATOR))
        now = self.clock.epoch_ms()
        run_locally(self.store, operator, Envelope(tenant=0, actor="test", at_ms=now), now)
        self._started.set()
        await serving
        await self.dispatcher.stop()


def running(data: Path) -> Iterator[Site]:
    site = Site(data)
    yield site
    site.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for a file of tests, which keep apart by tenant; a file that stops things makes one for each."""
    yield from running(tmp_path_factory.mktemp("site"))


@pytest.fixture
def shop(site: Site) -> httpx.Client:
    """A tenant's own key with every right."""
    return site.key(site.tenant(), "*")


@pytest.fixture
def peopled(shop: httpx.Client) -> httpx.Client:
    """The same, and the tenant has six members."""
    for i in range(6):
        assert shop.post("/v1/members", json={"msisdn": f"+49151123456{i:02}"}).status_code == 201
    return shop
