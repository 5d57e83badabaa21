"""How much of the writer long works may take while messages are sent: what they rest after a slice.

Touches: nothing. Rests on: bench/import_beside.py, where the figures come from.
"""

from __future__ import annotations

RESTING = 12_500.0  # messages a second for which a slice is followed by a rest as long as it took
SENDING = 1_000.0  # messages a second: below, nobody waits for the writer


def sending(submits_per_s: float) -> bool:
    """Whether there is anybody to give way to."""
    return submits_per_s > SENDING


def rest_s(submits_per_s: float, took_s: float) -> float:
    """After a slice that took so long. The faster messages are sent, the smaller the share: a broadcast is slowed by
    less than a tenth."""
    return took_s * submits_per_s / RESTING if sending(submits_per_s) else 0.0
