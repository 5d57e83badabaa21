"""How fast an endpoint goes after its SMSC said "too fast": finds the cap, keeps just below it, tries for more.

Touches: nothing; the pool gives it what was counted and takes its limit. Rests on: SMPP_FACTS 3 and 9; DESIGN 6.

Theory. An SMSC that refuses above C parts in a second has accepted C of them in the second before its first refusal, so
what was accepted tells the cap at once where plain halving would have to search. Three cases need more: the cap fell
(that second is of the old cap), the SMSC counts otherwise, or is just ill. They show as another refusal soon after, and
then a second of silence makes the next answer exact. Near a cap that was met twice the next try comes later and later,
to 12 s; from there the tries double their step each second, so that a cap forty times higher is found within 30 s.
Refusals that come as often at any pace are taken for what they are: a short hold each, and more is tried all the same.
Weak spots: an SMSC that spreads a cap unevenly over its binds is taken for one with a lower cap; a cap below some 20
parts/s is tried so seldom that 30 s do not always do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SECOND_NS = 1_000_000_000
TOUCHES = (0.99, 0.98)  # of the cap that a limit no further above it than MILD met; a third time soon after is no touch
MILD = 1.15
AGAIN = (0.99, 0.98, 0.9, 0.7)  # of what was accepted, when refusals go on though a second of silence came between
SOON_NS = 3 * SECOND_NS
HOLD_MAX_NS, TOUCH_NS = 8 * SECOND_NS, SECOND_NS // 10
ODD_EVENTS, ODD_PARTS = 8, 30  # so many, so few accepted between: refusals that no pace explains
ODD_NS, ODD_SHARE, ODD_STEP = 60 * SECOND_NS, 0.3, 0.3  # as long as they are no more than such a share of the answers
PLATEAU_S, PLATEAU_MAX_S = 3.0, 12.0
STEP, STEP_MAX = 0.02, 1.0  # of the limit, in the first second of trying for more and at most
LATER_SHARE, LATER_LEAST = 0.1, 10  # ESME_RMSGQFUL and its like, beyond what is usual, that mean the account
CONGESTED, NEAR, SLOW = 100, 98, 95  # congestion_state (SMPP 5.0, 4.8.4.18)


@dataclass(slots=True)
class Counts:
    """Of one Book: since it was made, since it was last asked to judge, and congestion_state since the last look."""

    accepted: int
    answered: int
    throttled_new: int = 0
    first_answers: int = 0
    first_later: int = 0
    congestion: int = -1  # none


class Flow:
    """`limit` is parts a second, 0 as long as nothing says that the contract is too much; nothing but the urgent leaves
    before `hold_until_ns`. look() changes them; it is called ten times a second and when a refusal came."""

    def __init__(self, contract: int, now_ns: int, *, hold_ns: int = SECOND_NS) -> None:
        self.contract = contract
        self.hold_ns = hold_ns  # of silence after a refusal that was more than a touch
        self.limit = 0.0
        self.hold_until_ns = 0
        self.events = 0
        self.why = ""  # throttled, queue_full or congested: what the last one was
        # (instant, accepted, answered)
        self._seen: deque[tuple[int, int, int]] = deque([(now_ns, 0, 0)])  # over a second
        self._later: deque[tuple[int, int, int]] = deque()  # (instant, first answers, of them queue full)
        self._later_usual = 0.0
        self._event_ns = 0  # when the last began
        self._row = 0  # events that followed each other soon
        self._silences = 0  # of them, those that asked for a second of silence
        self._none = 0  # of them, those with nothing accepted between
        self._cap = 0.0
        self._odd = 0  # events with hardly anything accepted between, whatever the pace
        self._odd_from = (0, 0)  # accepted and answered before the first of them
        self._odd_until_ns = 0
        self._accepted_then = 0  # at the last event
        self._plateau_s = PLATEAU_S
        self._looked_ns = 0
        self._slow_ns = 0  # when it was near its cap last, as it says

    def __repr__(self) -> str:
        return f"<Flow limit={self.limit:.0f} of {self.contract or 'any'} events={self.events} {self.why}>"

    @property
    def parts_per_s(self) -> int:
        """The limit as a Pace takes it."""
        return int(self.limit + 0.5)

    def look(self, counts: Counts, now_ns: int) -> bool:
        """Take in what was counted; True when it was an event: judge only what leaves from now on."""
        self._seen.append((now_ns, counts.accepted, counts.answered))
        while len(self._seen) > 2 and self._seen[1][0] <= now_ns - SECOND_NS:
            self._seen.popleft()
        dt_s = min(0.5, (now_ns - self._looked_ns) / SECOND_NS) if self._looked_ns else 0.0
        self._looked_ns = now_ns
        if counts.congestion >= SLOW:
            self._slow_ns = now_ns
        if now_ns < self.hold_until_ns:
            return False
        if counts.throttled_new:
            self._refused("throttled", now_ns)
        elif self._queue_full(counts, now_ns):
            self._refused("queue_full", now_ns)
        elif counts.congestion >= NEAR and now_ns - self._event_ns >= SECOND_NS:
            self._congested(counts.congestion, now_ns)
        else:
            if self.limit and now_ns - self._event_ns > PLATEAU_S * SECOND_NS:
                self._row = self._none = 0
            self._grow(now_ns, dt_s)
            return False
        self._later.clear()
        return True

    def accepted_per_s(self) -> float:
        """Over the last second."""
        return self._last_second(1)

    def _last_second(self, which: int) -> float:
        now, first, second = self._seen[-1], self._seen[0], self._seen[1]
        since, before = now[0] - SECOND_NS, float(first[which])
        if first[0] < since <= second[0]:
            before += (second[which] - first[which]) * (since - first[0]) / (second[0] - first[0])
        return now[which] - before

    def _refused(self, why: str, now_ns: int) -> None:
        cap, known = self.accepted_per_s(), self.limit or self.accepted_per_s()
        since = self._seen[-1][1] - self._accepted_then
        if self._unexplained(since):
            self._odd_until_ns = now_ns + ODD_NS
        if now_ns < self._odd_until_ns:
            if self._refused_share() <= ODD_SHARE:
                self._event(why, self.limit, now_ns)
                self.hold_until_ns = now_ns + min(TOUCH_NS, self.hold_ns)
                return
            self._odd_until_ns = self._odd = 0
        soon = bool(self.events) and now_ns - max(self._event_ns, self.hold_until_ns) < SOON_NS
        self._row = self._row + 1 if soon else 0
        self._none = self._none + 1 if since == 0 else 0
        touched = self._row < len(TOUCHES) and 0 < self.limit <= cap * MILD
        self._silences = 0 if touched or not soon else self._silences + 1
        same = touched and not soon and abs(cap - self._cap) <= 0.1 * self._cap
        self._plateau_s = min(PLATEAU_MAX_S, self._plateau_s * 2) if same else self._plateau_s if touched else PLATEAU_S
        if since == 0 or cap < 1:
            limit = known / 2
        elif touched:
            limit = cap * TOUCHES[self._row]
        else:
            limit = min(cap, known) * AGAIN[min(self._silences, len(AGAIN) - 1)]
        self._cap = cap
        self._event(why, max(1.0, limit), now_ns)
        silence = min(HOLD_MAX_NS, self.hold_ns << max(0, self._none - 1))
        self.hold_until_ns = now_ns + (min(TOUCH_NS, self.hold_ns) if touched else silence)

    def _unexplained(self, since: int) -> bool:
        """Refused again and again after a few parts, however slow: not because of the pace. Slower would be no cure."""
        if not self.events or since == 0 or since >= max(ODD_PARTS, self.limit * SOON_NS / SECOND_NS):
            self._odd, self._odd_from = 0, self._seen[-1][1:]
            return False
        self._odd += 1
        return self._odd >= ODD_EVENTS

    def _refused_share(self) -> float:
        """Of the last second where it had many answers, else since the first of the refusals that are not explained."""
        accepted, answered = self._last_second(1), self._last_second(2)
        if answered < ODD_PARTS:
            _, accepted_now, answered_now = self._seen[-1]
            accepted, answered = accepted_now - self._odd_from[0], answered_now - self._odd_from[1]
        return (answered - accepted) / answered if answered >= 1 else 1.0

    def _congested(self, state: int, now_ns: int) -> None:
        """It says so before it refuses: no silence is needed."""
        limit = (self.limit or self.accepted_per_s()) * (0.9 if state >= CONGESTED else 0.98)
        self._event("congested", max(1.0, limit), now_ns)

    def _event(self, why: str, limit: float, now_ns: int) -> None:
        self.limit = limit
        self.why = why
        self.events += 1
        self._accepted_then = self._seen[-1][1]
        self._event_ns = now_ns

    def _queue_full(self, counts: Counts, now_ns: int) -> bool:
        """Whether many more numbers than usual are refused for a full queue at their first try: the account's, not
        theirs. A full queue of single numbers is their share, whatever the pace."""
        self._later.append((now_ns, counts.first_answers, counts.first_later))
        while len(self._later) > 2 and self._later[1][0] <= now_ns - SECOND_NS:
            self._later.popleft()
        (_, answers, later), (begin_ns, answers_0, later_0) = self._later[-1], self._later[0]
        answers, later = answers - answers_0, later - later_0
        if now_ns - begin_ns < SECOND_NS // 2 or answers < LATER_LEAST:
            return False
        share = later / answers
        if share > self._later_usual + LATER_SHARE and later >= LATER_LEAST:
            self._later_usual += (share - self._later_usual) / 4  # a share that no pace changes becomes usual
            return True
        self._later_usual += (share - self._later_usual) / 50
        return False

    def _grow(self, now_ns: int, dt_s: float) -> None:
        if not self.limit:
            return
        if now_ns < self._odd_until_ns:
            self._raise(ODD_STEP, dt_s)
            return
        clean_s = (now_ns - max(self._event_ns, self.hold_until_ns)) / SECOND_NS - self._plateau_s
        if clean_s <= 0 or self._last_second(2) < 0.8 * self.parts_per_s - 1:
            return  # too soon; or the limit is not what limits, and more of it would be a guess
        step = STEP if now_ns - self._slow_ns < SECOND_NS else min(STEP_MAX, STEP * 2.0 ** min(clean_s, 10.0))
        self._raise(step, dt_s)

    def _raise(self, step: float, dt_s: float) -> None:
        self.limit = max(self.limit + dt_s, self.limit * (1.0 + step) ** dt_s)
        if self.contract and self.limit >= self.contract:
            self.limit, self._cap, self._plateau_s = 0.0, 0.0, PLATEAU_S
