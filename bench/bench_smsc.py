"""How fast the simulator is: submit_sm answered a second, and the processor time of each, against a client in C.

`python -m bench.bench_smsc [MESSAGES] [--json]`. Each line is checked against the log and the summary first.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.harness import best_of, report
from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.pdu import Message
from dispatcher.smpp.smsc_session import SmscOptions
from tests.reference.smsc import ReferenceSmsc

CASES = (  # name, simulator's options, registered_delivery, log kept
    ("answers only", ("--receipts", "0"), 0, False),
    ("answers and log", ("--receipts", "0"), 0, True),
    ("answers, log and receipts", ("--receipts", "100"), 1, True),
)
BINDS = 4
WINDOWS = (100, 1000)


def build_blaster(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("no C compiler found: install gcc (Debian: apt install gcc)")
    program = folder / "smsc_blaster"
    source = Path(__file__).with_name("smsc_blaster.c")
    subprocess.run([compiler, "-O2", "-w", "-o", str(program), str(source)], check=True)
    return program


def run_case(
    blaster: Path, folder: Path, options: tuple[str, ...], messages: int, window: int, registered: int, log: bool
) -> dict[str, Any]:
    path = folder / f"log-{os.getpid()}"
    command = [sys.executable, "-m", "dispatcher.cli.smsc", "--port", "0", *options]
    smsc = subprocess.Popen(command + (["--log", str(path)] if log else []), stdout=subprocess.PIPE, text=True)
    assert smsc.stdout is not None
    try:
        host, port = smsc.stdout.readline().removeprefix("listening on ").strip().split(":")
        before = processor_s(smsc.pid)
        arguments = [host, port, str(BINDS), str(window), str(messages), str(registered)]
        client = json.loads(subprocess.run([str(blaster), *arguments], check=True, capture_output=True).stdout)
        used_s = processor_s(smsc.pid) - before
        smsc.send_signal(signal.SIGTERM)
        summary = json.loads(smsc.stdout.readline())
        smsc.wait(10)
    finally:
        smsc.kill()
        smsc.wait()
    lines = path.read_bytes().count(b"\n") if log else messages
    path.unlink(missing_ok=True)
    assert client["answered"] == summary["accepted"] == messages == lines, (client, summary, lines)
    assert client["receipts"] == (messages if registered else 0)
    return {
        "messages_per_s": round(messages / client["total_s"]),
        "submits_per_s": round(messages / client["submit_s"]),
        "processor_us_each": round(used_s * 1e6 / messages, 3),
    }


def processor_s(pid: int) -> float:
    """User and system time of a process so far (proc(5), stat fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reference_us_each(submits: int = 20_000) -> float:
    """What one costs in plain Python, without a socket."""
    reference = ReferenceSmsc(SmscOptions(receipts=0), 1)
    message = Message(source_addr="VOLLEY", destination_addr="491500000000", short_message=b"x" * 80)
    pdu = codec.encode_message(CommandId.SUBMIT_SM, 1, message)
    (seconds,) = best_of(3, lambda: [reference.submit(pdu, 1, 1) for _ in range(submits)])
    return seconds * 1e6 / submits


def main(argv: Sequence[str]) -> int:
    numbers = [int(argument) for argument in argv if argument.isdecimal()]
    messages = numbers[0] if numbers else 1_000_000
    in_python_us = reference_us_each()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blaster = build_blaster(folder)
        for case, options, registered, log in CASES:
            for window in WINDOWS:
                figures = run_case(blaster, folder, options, messages, window, registered, log)
                figures["times_reference"] = round(in_python_us / figures["processor_us_each"], 1)
                report("smsc", {"case": case, "binds": BINDS, "window": window, **figures}, "--json" in argv)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
