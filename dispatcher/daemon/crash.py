"""Named moments at which a test kills this process as kill -9 does; nothing at all unless VOLLEY_CRASH_AT is set.

VOLLEY_CRASH_AT="name:n" ends the process with SIGKILL at the n-th passing of crash_point(name). Read once, at import.
The names: before_commit, in_receipt_commit, in_fold, in_import, in_undo, in_move (of numbers), in_ids_kept, in_log_drop
(in all these a transaction is open), after_commit_before_write, after_write_before_response (committer),
after_response_before_commit (deliveries), in_reconnect (dispatcher), in_recovery (the steps of a start).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from itertools import count
from typing import Protocol

VARIABLE = "VOLLEY_CRASH_AT"
NAMES = frozenset(
    {
        "before_commit",
        "in_receipt_commit",
        "in_fold",
        "in_import",
        "in_undo",
        "in_move",
        "in_ids_kept",
        "in_log_drop",
        "after_commit_before_write",
        "after_write_before_response",
        "after_response_before_commit",
        "in_reconnect",
        "in_recovery",
    }
)

When = Callable[[], bool]


class CrashPoint(Protocol):
    def __call__(self, name: str, when: When | None = None) -> None: ...


def _pass(name: str, when: When | None = None) -> None:
    """A named moment; counted only where `when` is true."""


def _armed(setting: str) -> CrashPoint:
    at, _, number = setting.partition(":")
    assert at in NAMES, f"{VARIABLE}={setting}: no such point"
    last = int(number or 1)
    passings, lock = count(1), threading.Lock()

    def crash_point(name: str, when: When | None = None) -> None:
        if name == at and (when is None or when()):
            with lock:
                if next(passings) == last:
                    os.kill(os.getpid(), signal.SIGKILL)

    return crash_point


crash_point: CrashPoint = _armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _pass
