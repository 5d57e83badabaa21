"""Which line is broken, which promise goes with it, and which tests must notice.

One row a mutant. `old` stands exactly once in `file`; a change of that line moves the row with it (the run says when a
row no longer fits). `kernels` are the compiled modules that hold the line, as VOLLEY_ONLY names them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One line of ours, broken."""

    name: str
    breaks: str  # what is no longer true
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    kernels: tuple[str, ...] = ()


SENDER, BOOK, PUMP = "dispatcher/smpp/_sender.pyx", "dispatcher/smpp/_book.pyx", "dispatcher/smpp/_pump.pyx"
OF_SENDER = ("smpp/_sender", "smpp/_pump")

MUTANTS = (
    # fsync
    Mutant(
        "commit-without-fsync",
        "what the API accepted survives a power cut",
        "dispatcher/store/environment.py",
        "            sync=sync,\n            metasync=sync,",
        "            sync=False,\n            metasync=False,",
        ("tests/store/test_power_cut.py",),
    ),
    Mutant(
        "import-body-without-fsync",
        "an accepted import survives a power cut",
        "admin/spool.py",
        "        os.fsync(self._fd)\n        self.close()",
        "        self.close()",
        ("tests/admin/test_imports.py", "tests/admin/test_spool.py"),
    ),
    Mutant(
        "told-before-the-commit",
        "a reply, an answer and a claim wait for the fsync of what they say",
        "dispatcher/daemon/committer.py",
        "        self.writer.put(job)\n        await job.done.wait()\n        if job.error",
        "        self.writer.put(job)\n        if job.error",
        ("tests/test_kill.py::test_a_kill_at_a_named_point_loses_nothing_and_sends_nothing_twice",),
    ),
    # claims and marks
    Mutant(
        "sent-before-its-claim",
        "nothing leaves before its claim is on disk",
        SENDER,
        "        while p.taken < p.committed and q < e and self.fill_parts - before < most:",
        "        while p.taken < p.made and q < e and self.fill_parts - before < most:",
        ("tests/smpp/test_pump.py",),
        OF_SENDER,
    ),
    Mutant(
        "no-mark-before-a-send",
        "after a kill, what may have left is uncertain and never sent twice",
        SENDER,
        "                    b.marks[i] = _mark(&b.pools[i])\n                if",
        "                    pass\n                if",
        ("tests/smpp/test_pump.py", "tests/smpp/test_pump_log.py"),
        OF_SENDER,
    ),
    Mutant(
        "claim-without-a-record",
        "a recipient is claimed on disk before its octets may leave",
        "dispatcher/daemon/writer.py",
        "            for value in job.values:\n                view.txn.put",
        "            for value in () if job.works else job.values:\n                view.txn.put",
        ("tests/test_kill.py::test_a_kill_at_a_named_point_loses_nothing_and_sends_nothing_twice",),
    ),
    # requeues
    Mutant(
        "broken-bind-keeps-what-never-left",
        "what never reached the socket is given back",
        SENDER,
        "                    self._release(b, w)\n                    w.seq = 0",
        "                    w.seq = 0",
        ("tests/smpp/test_pump.py",),
        OF_SENDER,
    ),
    Mutant(
        "broken-bind-forgets-its-window",
        "what was handed over and is unanswered is uncertain, never silent",
        SENDER,
        "                if not w.late:\n                    self._lose(b, w, 2)",
        "                if not w.late:\n                    pass",
        ("tests/smpp/test_pump.py",),
        OF_SENDER,
    ),
    Mutant(
        "no-second-try",
        "what was refused for now is sent again",
        "dispatcher/daemon/feeder.py",
        "                campaign.expansion.repeat(repeat)",
        "                pass",
        ("tests/daemon/test_faults_answers.py", "tests/daemon/test_retries.py"),
    ),
    Mutant(
        "kill-releases-what-may-have-left",
        "nothing is sent twice after a kill but what is listed",
        "dispatcher/daemon/recovery.py",
        "        lost = [part for part in parts if (campaign, rank, part) not in above]",
        "        lost = []",
        ("tests/test_kill.py::test_a_kill_at_a_random_moment_loses_nothing_and_sends_nothing_twice",),
    ),
    Mutant(
        "power-cut-trusts-the-mark",
        "after a power cut all claimed and unsettled is uncertain",
        "dispatcher/daemon/recovery.py",
        "        if marks.same_boot:\n            known",
        "        if True:\n            known",
        ("tests/test_kill.py::test_after_a_power_cut_all_that_was_claimed_and_unsettled_is_uncertain",),
    ),
    # guards
    Mutant(
        "suppressed-at-the-claim",
        "who was suppressed since the preview is not sent to",
        "dispatcher/campaigns/render.h",
        "    if (bit(j->flags + PLANE_SUPPRESSED * plane, slot)) return SUPPRESSED;\n",
        "",
        ("tests/campaigns/test_render.py",),
        ("campaigns/_render",),
    ),
    Mutant(
        "stop-not-at-the-socket",
        "STOP holds in mid-send",
        BOOK,
        "                return <int>(self.revoked[i] >> 56)",
        "                return 0",
        ("tests/smpp/test_pump_stop.py",),
        ("smpp/_book", "smpp/_sender", "smpp/_pump"),
    ),
    Mutant(
        "stop-not-kept",
        "an opt-out is on disk before it is confirmed",
        "dispatcher/outcomes/inbound.py",
        '    changes.merge(record_optout(view, owner.no, owner.number, tuple(OPTOUT_GROUPS), now_ms, f"SMS: {text}"))\n',
        "",
        ("tests/outcomes",),
    ),
    Mutant(
        "suppressed-are-sent-to",
        "who is suppressed is never sent to",
        "dispatcher/members/guards.py",
        "        Guard(Decision.SUPPRESSED, FLAGS, 1 << PLANE_SUPPRESSED),\n",
        "",
        ("tests/segments/test_select.py",),
    ),
    Mutant(
        "quiet-hours-are-open",
        "nobody is sent to in their quiet hours",
        "dispatcher/campaigns/guards.py",
        "            left &= ~waits\n",
        "",
        ("tests/campaigns/test_guards.py",),
    ),
    Mutant(
        "caps-are-not-asked",
        "nobody gets more than the frequency cap",
        "dispatcher/campaigns/guards.py",
        "            skip(Decision.FREQUENCY_CAP, left & counted.over(block))",
        "            pass",
        ("tests/campaigns/test_caps.py", "tests/campaigns/test_guards.py"),
    ),
    Mutant(
        "silence-is-consent",
        "where a market asks for consent, nobody without it is sent to",
        "dispatcher/campaigns/guards.py",
        "            skip(Decision.NO_CONSENT, left & ~flags[self._consent])",
        "            pass",
        ("tests/campaigns/test_guards.py",),
    ),
    # what comes back
    Mutant(
        "receipt-answered-before-its-commit",
        "no receipt that was answered is lost",
        SENDER,
        "        self.a_cut = self.a_tail\n",
        "        self.a_cut = self.a_ready = self.a_tail\n",
        ("tests/smpp/test_pump_receipts.py",),
        OF_SENDER,
    ),
    Mutant(
        "message-heard-twice",
        "a message from a phone that comes again is not answered twice",
        "dispatcher/outcomes/seals.py",
        "        if seal in self._at_ms:\n            return True",
        "        if seal in self._at_ms:\n            return False",
        ("tests/outcomes", "tests/daemon/test_faults_inbound.py"),
    ),
    Mutant(
        "request-forgotten",
        "the same Idempotency-Key makes one campaign",
        "dispatcher/daemon/handlers.py",
        '        changes.put("requests", _request_key(envelope), pack(kept))',
        "        pass",
        ("tests/admin/test_idempotency.py",),
    ),
    # bounds
    Mutant(
        "window-overrun",
        "never more than the window is unanswered",
        SENDER,
        "            if self.in_flight + n > self.window and (self.in_flight or n <= <int>self.window):\n                break",
        "            if False:\n                break",
        ("tests/smpp/test_pump_window.py",),
        OF_SENDER,
    ),
    Mutant(
        "any-length-is-read",
        "a stranger's length never makes us wait for it",
        PUMP,
        "            if n < 16 or n > MAX_PDU:",
        "            if n < 16:",
        ("tests/smpp/test_pump_garbage.py",),
        ("smpp/_pump",),
    ),
    Mutant(
        "audit-without-a-seal-check",
        "an altered audit is found",
        "dispatcher/store/audit.py",
        "        if found != _sealed(before, key, value[:-SEAL_OCTETS]):",
        "        if False:",
        ("tests/store/test_audit.py",),
    ),
)
