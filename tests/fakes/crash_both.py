"""`volley serve` killed whole, dispatcher and API at one blow, while a customer posts messages and asks again until told.

Rests on: an answer of 202 is a promise, and a request that nobody answered may be repeated with its key. So at the end
every number has been answered for, has at most one line in the simulator's log, and has none only where it is uncertain.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from dispatcher.control.commands import CreateKey, CreateTenant, Envelope
from dispatcher.daemon.handlers import run_locally
from dispatcher.store import open_store
from dispatcher.store.verify import verify
from dispatcher.tenants.keys import hash_secret
from tests.fakes.crash_run import DEADLINE_S, Run, Scenario, Smsc, settings_of
from tests.fakes.crash_run import Lines as LinesOf

REQUESTS, A_REQUEST = 120, 4  # messages each
SECRET = "vk_customer-of-the-kills-0123456789abcdef"
ASK_AGAIN_S = 0.03
FIRST_NUMBER = 8_613_900_000_000
FINAL = {"delivered", "uncertain"}


def prepare_both(folder: Path) -> Path:
    """A tenant and its key."""
    with open_store(folder, write=True, create=True, sync=False) as store:
        of_all = Envelope(tenant=0, actor="test", at_ms=1)
        run_locally(store, CreateTenant(title="Shop"), of_all, 1)
        key = CreateKey(for_tenant=1, title="till", scopes=["*"], secret_sha256=hash_secret(SECRET))
        run_locally(store, key, of_all, 1)
    return folder


class BothRun(Run):
    """Kills are by the share of requests that have been answered."""

    def __init__(self, prepared: Path, folder: Path, smsc: Smsc, number: int, scenario: Scenario) -> None:
        sender = f"10691{number:04d}"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        text = settings_of(smsc.port, sender, f"both{number}", scenario) + f'[api]\nhost = "127.0.0.1"\nport = {port}\n'
        super().__init__(prepared, folder, text, scenario)
        self.lines, self.number = LinesOf(smsc, sender), number
        self.states: dict[str, str] = {}
        self._answered = 0
        self._ends = threading.Event()
        self._customer = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {SECRET}"}, timeout=DEADLINE_S
        )
        self._thread = threading.Thread(target=self._post)

    def __enter__(self) -> BothRun:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._customer.close()
        self.lines.close()
        super().__exit__(kind)

    def start(self, crash_at: str = "") -> None:
        assert not crash_at, "both are killed at moments, not at points"
        argv = [sys.executable, "-m", "dispatcher.cli", "serve", "--data", str(self.folder)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VOLLEY_")}
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                argv, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def kill(self) -> None:
        os.killpg(self._alive().pid, signal.SIGKILL)

    def done_share(self) -> float:
        return self._answered / REQUESTS

    def is_settled(self) -> bool:
        """Everything was answered for and is over."""
        if self._answered < REQUESTS:
            return False
        self.states = self._shown()
        return len(self.states) == REQUESTS * A_REQUEST and set(self.states.values()) <= FINAL

    def judge(self) -> dict[str, Any]:
        """After live_and_die(): figures; raises AssertionError."""
        self.lines.count()
        lines = Counter(str(line.destination) for line in self.lines.all)
        with open_store(self.folder) as store, store.snapshot() as view:
            problems = list(verify(view)["problems"])
            assert problems == [], problems
        assert "Traceback" not in self.output(), self.output()
        assert max(lines.values()) == 1, f"twice: {[number for number, n in lines.items() if n > 1]}"
        assert lines.keys() <= self.states.keys(), f"nobody's: {lines.keys() - self.states.keys()}"
        without = {number for number in self.states if not lines[number]}
        assert {self.states[number] for number in without} <= {"uncertain"}, "who has no line is listed"
        uncertain = sum(state == "uncertain" for state in self.states.values())
        return {"lines": lines.total(), "sent": len(self.states), "uncertain": uncertain}

    def _post(self) -> None:
        """Every request until it is answered, with one key each time."""
        for number in range(REQUESTS):
            first = FIRST_NUMBER + number * A_REQUEST
            messages = [{"to": f"+{first + i}", "text": "Hello", "purpose": "marketing"} for i in range(A_REQUEST)]
            while not self._ends.is_set():
                try:
                    answer = self._customer.post(
                        "/v1/messages", json={"messages": messages}, headers={"Idempotency-Key": f"request-{number}"}
                    )
                except httpx.TransportError:
                    time.sleep(ASK_AGAIN_S)
                    continue
                if answer.status_code == 202:
                    break
                assert answer.status_code in (503, 507), answer.text
                time.sleep(ASK_AGAIN_S)
            self._answered = number + 1

    def _shown(self) -> dict[str, str]:
        """State by number, of all messages that the API knows."""
        found: dict[str, str] = {}
        after = None
        while True:
            asked = {"limit": 100} | ({"after": after} if after else {})
            page = self._customer.get("/v1/messages", params=asked).json()
            found |= {row["to"].lstrip("+"): row["state"] for row in page["data"]}
            if (after := page["next"]) is None:
                return found
