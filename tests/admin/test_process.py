"""The process itself: `python -m admin` on a data folder, as `volley serve` starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from dispatcher.control.commands import CreateKey, Envelope
from dispatcher.daemon.handlers import run_locally
from dispatcher.store import open_store
from dispatcher.tenants.keys import hash_secret
from tests.admin.conftest import OPERATOR


@contextmanager
def admin(data: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {**os.environ, "VOLLEY_DATA": str(data), "VOLLEY_API_PORT": str(port)}
    with subprocess.Popen([sys.executable, "-m", "admin"], env=env) as process:
        try:
            wait_until_served(process, f"http://127.0.0.1:{port}")
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def wait_until_served(process: subprocess.Popen[bytes], url: str) -> None:
    give_up = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < give_up:
        try:
            assert httpx.get(f"{url}/healthz").status_code == 200
            return
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError("it does not serve")


def test_it_reads_a_store_made_after_its_start_without_a_dispatcher_and_stops_at_sigterm(tmp_path: Path):
    with admin(tmp_path) as (process, url):
        assert httpx.get(f"{url}/readyz").json()["store"] == "unreadable"
        with open_store(tmp_path, write=True, create=True) as store:
            key = CreateKey(for_tenant=0, title="operator", scopes=["*"], secret_sha256=hash_secret(OPERATOR))
            run_locally(store, key, Envelope(tenant=0, actor="test", at_ms=1), 1)
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        assert httpx.get(f"{url}/v1/tenants", headers=headers).json() == {"data": [], "next": None}
        assert httpx.get(f"{url}/readyz").json() == {"status": "not ready", "store": "ok", "dispatcher": "down"}
        change = httpx.post(f"{url}/v1/tenants", headers=headers, json={"title": "x"})
        assert (change.status_code, change.json()["code"]) == (503, "dispatcher_down")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_wrong_setting_is_told_and_ends_with_2(tmp_path: Path):
    env = {**os.environ, "VOLLEY_DATA": str(tmp_path), "VOLLEY_API_PORT": "seventy"}
    ended = subprocess.run([sys.executable, "-m", "admin"], env=env, capture_output=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert b"port" in ended.stderr


def test_a_taken_port_ends_it_with_1(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {**os.environ, "VOLLEY_DATA": str(tmp_path), "VOLLEY_API_PORT": str(taken.getsockname()[1])}
        ended = subprocess.run([sys.executable, "-m", "admin"], env=env, capture_output=True, timeout=20, check=False)
        assert ended.returncode == 1
        assert b"address already in use" in ended.stderr
