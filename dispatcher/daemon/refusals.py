"""Campaigns that an SMSC refuses for what they are: a fifth of 200 answers that tell of configuration holds them.

Touches: counters of the channels' runs. Rests on: SMPP_FACTS 3 (fail for good, and hold the campaign on this route, for
it is configuration: a sender, a service type, a type of number). Which statuses those are is the endpoint's table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dispatcher.daemon.feeder import Feeder

ANSWERS = 200
ONE_IN = 5


@dataclass(frozen=True, slots=True)
class Refused:
    """One to be held."""

    tenant: int
    campaign: int
    endpoint: str
    answers: int
    telling: int

    @property
    def reason(self) -> str:
        return (
            f"{self.telling:,} of the last {self.answers:,} answers of {self.endpoint} refuse what the campaign is, "
            f"not a number (its sender, service type or alphabet): see `errors` of its binds, then resume it"
        )


class Refusals:
    """look() once a second."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[int, int]] = {}  # (campaign, endpoint): what was looked at already

    def look(self, feeder: Feeder) -> Iterator[Refused]:
        for known in list(feeder.running()):
            for channel in feeder.channels:
                run = channel.runs.get(known.id)
                if run is None:
                    continue
                answers, telling = channel.book.answers_of(run)
                before = self._seen.get((known.id, channel.number), (0, 0))
                if answers < before[0]:  # the run began anew
                    before = 0, 0
                if answers - before[0] < ANSWERS:
                    continue
                self._seen[known.id, channel.number] = answers, telling
                if (telling - before[1]) * ONE_IN > answers - before[0]:
                    yield Refused(known.tenant, known.id, channel.name, answers - before[0], telling - before[1])

    def forget(self, campaign: int) -> None:
        for key in [key for key in self._seen if key[0] == campaign]:
            del self._seen[key]
