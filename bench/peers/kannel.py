"""Kannel between its HTTP clients and the simulator: bearerbox and smsbox, configured in a temporary folder.

Touches: child processes, which it ends; loopback ports. Nothing is stored: receipts are kept in memory (dlr-storage
internal), no store-file, no access log, logs of panics only. Two connections to the SMSC, as the other peers have.
Rests on: Kannel's user's guide, 1.4: groups core, smsbox, smsc, sendsms-user. A group ends with an empty line.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BINDS = 2
START_S, STOP_S = 15.0, 10.0
USER = "peer"


@dataclass(frozen=True, slots=True)
class Kannel:
    """Where it is installed."""

    bearerbox: str
    smsbox: str

    @classmethod
    def find(cls, folder: str) -> Kannel | None:
        """In `folder`, or in PATH where that is empty; None where it is not."""
        found = [shutil.which(name, path=folder or None) for name in ("bearerbox", "smsbox")]
        return cls(*(path for path in found if path)) if all(found) else None

    @contextlib.contextmanager
    def running(self, folder: Path, smsc_port: int, window: int) -> Iterator[int]:
        """The port of its sendsms interface. Raises TimeoutError when it does not come up."""
        folder.mkdir(parents=True, exist_ok=True)
        admin, boxes, sendsms = _free_ports(3)
        file = folder / "kannel.conf"
        file.write_text(configuration(admin, boxes, sendsms, smsc_port, window))
        with contextlib.ExitStack() as stack:
            for program, port in ((self.bearerbox, boxes), (self.smsbox, sendsms)):
                log = stack.enter_context((folder / f"{Path(program).name}.out").open("wb"))
                process = subprocess.Popen([program, str(file)], cwd=folder, stdout=log, stderr=log)
                stack.callback(_stop, process)
                _wait_for(process, port)
            yield sendsms


def configuration(admin: int, boxes: int, sendsms: int, smsc_port: int, window: int) -> str:
    """What both programs read."""
    core = {
        "admin-port": admin, "admin-password": USER, "smsbox-port": boxes, "smsbox-max-pending": 1_000,
        "box-deny-ip": '"*.*.*.*"', "box-allow-ip": "127.0.0.1", "dlr-storage": "internal", "log-level": 4,
    }  # fmt: skip
    smscs = [
        {
            "smsc": "smpp", "smsc-id": f"smsc{no}", "host": "127.0.0.1", "port": smsc_port, "transceiver-mode": "true",
            "smsc-username": USER, "smsc-password": USER, "system-type": "VMA", "max-pending-submits": window,
        }
        for no in range(BINDS)
    ]  # fmt: skip
    smsbox = {"bearerbox-host": "127.0.0.1", "sendsms-port": sendsms, "global-sender": "10690000", "log-level": 4}
    user = {"username": USER, "password": USER, "user-allow-ip": "127.0.0.1"}
    groups = [("core", core), *(("smsc", smsc) for smsc in smscs), ("smsbox", smsbox), ("sendsms-user", user)]
    return "\n".join(
        "".join(f"{key} = {value}\n" for key, value in {"group": name, **values}.items()) for name, values in groups
    )


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > give_up:
            raise TimeoutError(f"{process.args!r} does not listen on port {port}: exit status {process.poll()}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
