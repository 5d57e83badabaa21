"""What reads or writes much beside those who send leaves them the processor: a backup, an import's parser.

Touches: the scheduling of this process and of the threads it starts from now on. Rests on: sched(7), SCHED_IDLE, which
runs at full speed where nobody else wants the core and gives way at once where somebody does.
"""

from __future__ import annotations

import os
from contextlib import suppress


def give_way() -> None:
    """Where the system has no such class, or does not allow it, the process goes on as it is."""
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
