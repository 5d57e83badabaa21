"""What arrives off the pump's fast path: odd receipts, messages from phones. Durable first, then answered.

Touches: one account's Book (receipts), the next commit (messages). A flood is bounded (outcomes/flood.py): past that,
and past WAITING_MAX, only opt-outs are taken, the rest is answered ESME_RX_T_APPN and comes again. Rests on: SMPP_FACTS
8 and 12, PITFALLS D5 and F14.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from dispatcher.apps.keywords import react
from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.works import Works
from dispatcher.daemon.writer import Work
from dispatcher.outbox.entry import Entry
from dispatcher.outcomes.flood import Flood, first_words, may_opt_out
from dispatcher.outcomes.inbound import Heard, Recent, hear, overdue, seal_of
from dispatcher.outcomes.receipt_text import read_receipt
from dispatcher.records.changes import Changes, View
from dispatcher.records.events import Delivered
from dispatcher.smpp.bind import Answer
from dispatcher.smpp.consts import ESME_ROK, ESME_RX_T_APPN
from dispatcher.smpp.pdu import Message, Unparsed
from dispatcher.smpp.pump import Book, set_opt_outs

WAITING_MAX = 4_000  # about a second's: a STOP stands behind them
OVERDUE_EVERY_S = 5.0

log = structlog.get_logger("deliveries")


@dataclass(slots=True)
class Counters:
    """Since this start."""

    inbound: dict[str, int] = field(default_factory=dict)
    unparsed: int = 0
    receipts_odd: int = 0
    receipts_unread: int = 0
    refused: int = 0
    store_full: int = 0


class Deliveries:
    """smpp.bind.Deliveries; `heard` is told of each message from a phone once it is on disk."""

    def __init__(self, book: Book, works: Works, heard: Callable[[Heard, Entry | None], None]) -> None:
        self.book = book
        self.counters = Counters()
        self.answers: list[Answer] = []  # to what is in the journal: they leave once that is on disk
        self._works = works
        self._heard = heard
        self._recent = Recent()
        self.flood = Flood()
        self.default_alphabet = "gsm"  # set by channel.py: what data_coding 0 means here
        self._looked_s = 0.0
        self._refused = 0  # here; the pump refuses too
        with suppress(ValueError):  # a word of a market that the pump has no room for: it refuses nothing
            set_opt_outs(first_words())

    def kick(self) -> None:
        crash_point("after_response_before_commit", lambda: self.book.journal_records_waiting > 0)
        if self.book.journal_records_waiting or self.answers:
            self._works.wake()
        if time.monotonic() >= self._looked_s + OVERDUE_EVERY_S:
            self._looked_s = time.monotonic()
            self._end_overdue()
        self.counters.refused = self._refused + self.book.mo_refused

    def ended(self) -> None:
        """A bind has ended: answers on their way may not have arrived."""
        self._works.hear(lambda view: (self._recent.doubt(_now_ms()), None), lambda work: None)

    def _end_overdue(self) -> None:
        """Give long messages that waited long enough for a part as they are, a commit each."""

        def step(view: View) -> tuple[Changes, tuple[Heard, Entry | None] | None]:
            found = overdue(view, _now_ms())
            if found is None:
                return Changes(), None
            changes, heard = found
            more, entry = react(view, heard, _now_ms(), self.book.endpoint)
            changes.merge(more)
            return changes, (heard, entry)

        def then(work: Work) -> None:
            if work.error is None and work.result is not None:
                self._tell(*work.result)
                self._end_overdue()

        self._works.hear(step, then)

    def _tell(self, heard: Heard, entry: Entry | None) -> None:
        self.counters.inbound[heard.what] = self.counters.inbound.get(heard.what, 0) + 1
        self._heard(heard, entry)

    def deliver(self, answer: Answer, message: Message | Unparsed) -> None:
        """Take one deliver_sm or data_sm. What cannot be read is counted, logged and answered, the session lives on."""
        if isinstance(message, Unparsed):
            self.counters.unparsed += 1
            log.warning("unparsed", reason=message.reason, octets=message.octets[:64].hex())
            self._answer_after_commit(answer)
            return
        delivered = Delivered(
            source_addr=message.source_addr,
            destination_addr=message.destination_addr,
            esm_class=message.esm_class,
            data_coding=message.data_coding,
            octets=message.short_message,
            tlvs=message.tlvs,
        )
        if delivered.is_receipt:
            self._receipt(delivered)
            self._answer_after_commit(answer)
        else:
            self._message(answer, delivered)

    def _answer_after_commit(self, answer: Answer) -> None:
        self.answers.append(answer)
        self._works.wake()

    def _receipt(self, delivered: Delivered) -> None:
        receipt = read_receipt(delivered, self.default_alphabet)
        if receipt is None:
            self.counters.receipts_unread += 1
            log.warning(
                "receipt_unread",
                source=re.sub(r"\d(?=\d{3})", "*", delivered.source_addr),
                octets=delivered.octets[:160].hex(),
            )
            return
        self.counters.receipts_odd += 1
        state = 0 if receipt.state is None else int(receipt.state)
        self.book.receipt(receipt.message_id, state, receipt.err, receipt.subscriber, receipt.other_id)

    def _message(self, answer: Answer, delivered: Delivered) -> None:
        taken = self.flood.takes(delivered, time.monotonic(), self.default_alphabet)
        if taken and self._works.heard_waiting >= WAITING_MAX:
            taken = may_opt_out(delivered, self.default_alphabet)
        if not taken:
            self._refused += 1
            answer(ESME_RX_T_APPN)
            return

        def step(view: View) -> tuple[Changes, tuple[Heard, Entry | None]]:
            now_ms, via = _now_ms(), self.book.endpoint
            changes, heard = hear(
                view, delivered, now_ms, self._recent, endpoint=via, default_alphabet=self.default_alphabet
            )
            more, entry = react(view, heard, now_ms, via)
            changes.merge(more)
            return changes, (heard, entry)

        def then(work: Work) -> None:
            if work.error is not None:
                self.counters.store_full += 1
                if work.result is not None and work.result[0].what != "repeat":
                    self._recent.forget(seal_of(delivered))
                answer(ESME_RX_T_APPN)  # not kept: it must come again
                return
            self._tell(*work.result)
            answer(ESME_ROK)

        self._works.hear(step, then)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
