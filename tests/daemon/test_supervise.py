"""The supervisor against real processes: small Python scripts that die, hang or end as asked."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from config import Settings
from dispatcher.daemon import supervise
from dispatcher.daemon.supervise import BackOff, Child, RunRecord, Supervisor
from dispatcher.errors import StoreLocked

WAITS = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"


def child(name: str, code: str) -> Child:
    return Child(name, [sys.executable, "-S", "-c", code], os.environ)


class Watched:
    """A supervisor with what it told, so that a test can wait for a start instead of sleeping."""

    def __init__(self, *children: Child, stop_s: float = 5.0, min_s: float = 0.01) -> None:
        self.told: list[dict[str, int]] = []
        self._bell, self._heard = trio.open_memory_channel[None](1_000)
        self.supervisor = Supervisor(children, self._tell, stop_s, lambda: BackOff(min_s=min_s, max_s=0.05))

    def _tell(self, pids):
        self.told.append(dict(pids))
        self._bell.send_nowait(None)

    async def until(self, true):
        while not true(self.told):
            await self._heard.receive()


def supervised(watched: Watched, scenario) -> int:
    async def both() -> int:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scenario, watched)
                return await watched.supervisor.run()

    return trio.run(both)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(true, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)  # on other processes, which no clock of ours moves


def test_the_wait_doubles_while_a_child_dies_young_and_starts_over_after_a_long_life():
    back_off = BackOff()
    assert [back_off.after(0.1) for _ in range(7)] == [0.5, 1, 2, 4, 8, 16, 30]
    assert [back_off.after(3.1), back_off.after(0.1)] == [0.5, 1]


def test_a_dead_child_is_started_again_and_its_sibling_left_alone():
    async def scenario(watched):
        await watched.until(lambda told: told and len(told[-1]) == 2)
        first = watched.told[-1]
        os.kill(first["a"], signal.SIGKILL)
        await watched.until(lambda told: len(told[-1]) == 2 and told[-1]["a"] != first["a"])
        assert watched.told[-1]["b"] == first["b"]
        os.kill(os.getpid(), signal.SIGTERM)

    watched = Watched(child("a", WAITS), child("b", WAITS))
    assert supervised(watched, scenario) == 0
    assert watched.told[-1] == {}


@pytest.mark.parametrize("code", [2, 3, 4])
def test_a_child_that_ends_for_good_ends_all_with_its_status(code):
    async def scenario(watched):
        pass

    watched = Watched(child("a", f"import sys; sys.exit({code})"), child("b", WAITS))
    assert supervised(watched, scenario) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_children_as_SIGTERM(number, tmp_path):
    seen = tmp_path / "seen"
    writes = f"lambda n, _: (open({str(seen)!r}, 'w').write(str(n)), sys.exit(0))"
    code = WAITS.replace("lambda *_: sys.exit(0)", writes)
    code = code.replace("print('up', flush=True)", f"open({str(tmp_path / 'up')!r}, 'w')")

    async def scenario(watched):
        while not (tmp_path / "up").exists():
            await trio.sleep(0.01)
        os.kill(os.getpid(), number)

    assert supervised(Watched(child("a", code)), scenario) == 0
    assert seen.read_text() == "15"


def test_a_child_deaf_to_SIGTERM_is_killed_after_the_time_given(tmp_path):
    code = DEAF.replace("print('up', flush=True)", f"open({str(tmp_path / 'up')!r}, 'w')")

    async def scenario(watched):
        while not (tmp_path / "up").exists():
            await trio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    watched = Watched(child("a", code), stop_s=0.1)
    assert supervised(watched, scenario) == 1


def test_a_stop_does_not_wait_for_the_back_off():
    async def scenario(watched):
        await watched.until(lambda told: told[-1:] == [{}])
        os.kill(os.getpid(), signal.SIGTERM)

    began = time.monotonic()
    assert supervised(Watched(child("a", "raise SystemExit(1)"), min_s=15.0), scenario) == 0
    assert time.monotonic() - began < 10


def test_children_end_when_the_supervisor_is_killed(tmp_path):
    script = f"""
import sys, os, trio
from pathlib import Path
from dispatcher.daemon.supervise import Child, RunRecord, Supervisor
code = {WAITS!r}
child = Child("dispatcher", [sys.executable, "-S", "-c", code], os.environ)
record = RunRecord(Path({str(tmp_path / "run.json")!r}), "http://x")
trio.run(Supervisor([child], record.write).run)
"""
    env = {**os.environ, "PYTHONPATH": supervise._python_path()}
    process = subprocess.Popen([sys.executable, "-c", script], env=env)
    try:
        wait_for((tmp_path / "run.json").exists)
        record = json.loads((tmp_path / "run.json").read_text())
        assert record["pid"] == process.pid
        assert not gone(record["dispatcher_pid"])
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: gone(record["dispatcher_pid"]))


def test_the_run_record_is_replaced_whole(tmp_path):
    record = RunRecord(tmp_path / "run.json", "http://127.0.0.1:8080")
    record.write({"dispatcher": 7})
    record.write({"dispatcher": 8, "admin": 9})
    assert json.loads(record.path.read_text()) == {
        "pid": os.getpid(),
        "api_url": "http://127.0.0.1:8080",
        "dispatcher_pid": 8,
        "admin_pid": 9,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_second_supervisor_on_a_data_folder_is_refused(tmp_path):
    held = supervise._lock(tmp_path)
    with pytest.raises(StoreLocked):
        supervise.main(Settings(data=tmp_path))
    os.close(held)
