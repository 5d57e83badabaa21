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
OF_SENDER = ("smpp/_sender",)  # others call it through its table of methods

MUTANTS = (
    # fsync
    Mutant(
        "commit-without-fsync",
        "what the API accepted survives a power cut",
        "dispatcher/store/environment.py",
        "            sync=sync,\n            metasync=sync,",
        "            sync=False,\n            metasync=False,",
        ("tests/store/test_power_cut.py::test_nothing_is_opened_that_waits_less_for_the_disk",),
    ),
    Mutant(
        "import-body-without-fsync",
        "an accepted import survives a power cut",
        "admin/spool.py",
        "        os.fsync(self._fd)\n        self.close()",
        "        self.close()",
        ("tests/admin/test_spool.py",),
    ),
    Mutant(
        "told-before-the-commit",
        "a reply, an answer and a claim wait for the fsync of what they say",
        "dispatcher/daemon/committer.py",
        "        self.writer.put(job)\n        await job.done.wait()\n        if job.error",
        "        self.writer.put(job)\n        if job.error",
        (
            "tests/daemon/test_single_messages.py",
            "tests/test_kill.py::test_a_kill_at_a_named_point_loses_nothing_and_sends_nothing_twice[before_commit:4]",
        ),
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
        ("tests/smpp/test_pump.py::test_the_mark_is_stored_before_the_octets_leave", "tests/smpp/test_pump_log.py"),
        OF_SENDER,
    ),
    Mutant(
        "claim-without-a-record",
        "a recipient is claimed on disk before its octets may leave",
        "dispatcher/daemon/writer.py",
        "            for value in job.values:\n                position = log_values",
        "            for value in () if job.works else job.values:\n                position = log_values",
        (
            "tests/test_kill.py::test_a_kill_at_a_named_point_loses_nothing_and_sends_nothing_twice[after_commit_before_write:3]",
        ),
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
        ("tests/daemon/test_faults_answers.py::test_what_is_refused_for_now_is_sent_again_and_delivered",),
    ),
    Mutant(
        "kill-releases-what-may-have-left",
        "nothing is sent twice after a kill but what is listed",
        "dispatcher/daemon/recovery.py",
        "        lost = [part for part in parts if (campaign, rank, part) not in above]",
        "        lost = []",
        (
            "tests/test_kill.py::test_a_kill_at_a_named_point_loses_nothing_and_sends_nothing_twice[after_write_before_response:4]",
        ),
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
        ("tests/campaigns/test_render.py::test_each_plane_stops_the_purposes_it_is_for",),
        ("campaigns/_render",),
    ),
    Mutant(
        "stop-not-at-the-socket",
        "STOP holds in mid-send",
        BOOK,
        "                return <int>(self.revoked[i] >> 56)",
        "                return 0",
        ("tests/smpp/test_pump_stop.py",),
        ("smpp/_book",),
    ),
    Mutant(
        "stop-not-kept",
        "an opt-out is on disk before it is confirmed",
        "dispatcher/outcomes/inbound.py",
        "    for one in owner.concerned:\n        changes.merge(record_optout(",
        "    for one in ():\n        changes.merge(record_optout(",
        ("tests/outcomes/test_inbound.py::test_a_stop_opts_out_of_every_group_and_is_first_once",),
    ),
    Mutant(
        "suppressed-are-sent-to",
        "who is suppressed is never sent to",
        "dispatcher/members/guards.py",
        "        Guard(Decision.SUPPRESSED, FLAGS, 1 << PLANE_SUPPRESSED),\n",
        "",
        ("tests/store/test_schema_1.py::test_segments_count_the_same_members",),
    ),
    Mutant(
        "quiet-hours-are-open",
        "nobody is sent to in their quiet hours",
        "dispatcher/campaigns/guards.py",
        "            left &= ~waits\n",
        "",
        ("tests/campaigns/test_guards.py::test_who_sleeps_is_counted_as_waiting_and_goes_when_it_opens",),
    ),
    Mutant(
        "caps-are-not-asked",
        "nobody gets more than the frequency cap",
        "dispatcher/campaigns/guards.py",
        "            skip(Decision.FREQUENCY_CAP, left & counted.over(block))",
        "            pass",
        (
            "tests/campaigns/test_caps.py::test_two_campaigns_at_once_never_pass_one_cap_together",
            "tests/campaigns/test_guards.py",
        ),
    ),
    Mutant(
        "silence-is-consent",
        "where a market asks for consent, nobody without it is sent to",
        "dispatcher/campaigns/guards.py",
        "            skip(Decision.NO_CONSENT, left & ~flags[self._consent])",
        "            pass",
        ("tests/campaigns/test_guards.py::test_only_who_said_yes_gets_marketing_where_the_market_asks_for_it",),
    ),
    # what comes back
    Mutant(
        "receipt-answered-before-its-commit",
        "no receipt that was answered is lost",
        SENDER,
        "        self.a_cut = self.a_tail\n",
        "        self.a_cut = self.a_ready = self.a_tail\n",
        ("tests/smpp/test_pump_receipts.py::test_a_receipt_is_answered_only_after_its_commit",),
        OF_SENDER,
    ),
    Mutant(
        "message-heard-twice",
        "a message from a phone that comes again is not answered twice",
        "dispatcher/outcomes/seals.py",
        "        if seal in self._at_ms:\n            return True",
        "        if seal in self._at_ms:\n            return False",
        ("tests/outcomes/test_seals.py", "tests/outcomes/test_inbound.py"),
    ),
    Mutant(
        "request-forgotten",
        "the same Idempotency-Key makes one campaign",
        "dispatcher/daemon/handlers.py",
        '        changes.put("requests", _request_key(envelope), pack(kept))',
        "        pass",
        ("tests/admin/test_idempotency.py",),
    ),
    # who goes first
    Mutant(
        "hurry-without-end",
        "a flood of one-time codes stops no campaign",
        "dispatcher/daemon/committer.py",
        "            hurried = asked and self._hurried < HURRIED_MAX",
        "            hurried = asked",
        ("tests/daemon/test_single_messages.py::test_commits_made_in_a_hurry_for_codes_stop_no_campaign",),
    ),
    Mutant(
        "turns-without-end",
        "campaigns that share an endpoint take turns",
        "dispatcher/daemon/lanes.py",
        "            if key not in amid:\n                left[key] += share",
        "            left[key] += share",
        ("tests/daemon/test_lanes.py",),
    ),
    # money and approval
    Mutant(
        "credit-given-twice",
        "no start reserves more than the credit there is",
        "dispatcher/campaigns/money.py",
        "        if micros > held.balance:",
        "        if False:",
        ("tests/campaigns/test_money.py",),
    ),
    Mutant(
        "nothing-is-reserved",
        "what a start costs is held until the end settles it",
        "dispatcher/campaigns/money.py",
        "               balance=-micros, reserved=micros, micros=micros, campaign=campaign)",
        "               balance=0, reserved=0, micros=micros, campaign=campaign)",
        ("tests/campaigns/test_money.py::test_a_start_reserves_and_the_end_settles_what_was_sent",),
    ),
    Mutant(
        "unspent-is-kept",
        "the end gives back what was reserved and not sent",
        "dispatcher/campaigns/money.py",
        "balance=reserved - micros,",
        "balance=0,",
        ("tests/campaigns/test_money.py::test_a_start_reserves_and_the_end_settles_what_was_sent",),
    ),
    Mutant(
        "budget-is-a-wish",
        "a text that grew stops at the budget and not after it",
        "dispatcher/campaigns/money.py",
        "    guards.limit(limits, spent, bill, meter.columns)",
        "    pass",
        ("tests/campaigns/test_money.py::test_a_text_that_grew_stops_at_the_budget_and_not_after_it",),
    ),
    Mutant(
        "own-approval",
        "above the limit the author is not the approver",
        "dispatcher/campaigns/life.py",
        '    if above_limit(tenant, count) and envelope.actor in row["authors"]:',
        "    if False:",
        ("tests/campaigns/test_life.py::test_whoever_wrote_edited_or_submitted_it_does_not_approve_it",),
    ),
    Mutant(
        "caps-forget-what-is-claimed",
        "two campaigns at once never pass one cap together",
        "dispatcher/segments/caps.py",
        "        found = self._claims.others(self._campaign, block)",
        "        found: dict[int, int] = {}",
        ("tests/campaigns/test_caps.py::test_two_campaigns_at_once_never_pass_one_cap_together",),
    ),
    # what is kept
    Mutant(
        "audit-forgets-its-end",
        "an audit whose newest entry was cut off is found",
        "dispatcher/store/audit.py",
        '    changes.put("meta", HEAD, pack({"seq": number, "seal": seal}))\n',
        "",
        ("tests/store/test_audit.py::test_a_newest_entry_that_was_cut_off_is_missed_by_its_number",),
    ),
    Mutant(
        "archive-without-fsync",
        "what an archive tells survives a power cut",
        "dispatcher/apps/archive.py",
        "        file.flush()\n        os.fsync(file.fileno())\n",
        "        file.flush()\n",
        ("tests/apps/test_archive.py::test_the_file_is_on_disk_whole_before_anybody_may_say_so",),
    ),
    Mutant(
        "archived-amid-receipts",
        "what still awaits an answer is not archived",
        "dispatcher/apps/archive.py",
        "    if left:\n        return f",
        "    if False:\n        return f",
        ("tests/apps/test_archive.py::test_what_is_unsettled_is_not_archived",),
    ),
    Mutant(
        "backup-as-it-lies",
        "what was deleted is in no backup",
        "dispatcher/store/backup.py",
        "            within = cleaned(chunk, size, at // size, kept.free, within)\n",
        "",
        ("tests/store/test_pages.py",),
    ),
    Mutant(
        "any-meta-page",
        "a backup is of the commit that its reader holds",
        "dispatcher/store/pages.py",
        "return mine if mine.transaction == transaction and other.transaction < transaction else None",
        "return mine",
        ("tests/store/test_pages.py",),
    ),
    Mutant(
        "log-of-any-length",
        "pages that a backup held back find their use again",
        "dispatcher/store/log_values.py",
        "    for each in split(value, OCTETS_MAX):\n        view.txn.put",
        "    for each in [value]:\n        view.txn.put",
        ("tests/store/test_log_values.py",),
    ),
    Mutant(
        "log-begins-again",
        "the ids of the first messages lead to their own records",
        "dispatcher/daemon/orders.py",
        "                    if not ledger.has_log_base(view, batch):",
        "                    if not ledger.log_base(view, batch):",
        ("tests/daemon/test_single_messages.py::test_the_first_of_a_store_lead_to_their_records_after_others_too",),
    ),
    # bounds
    Mutant(
        "window-overrun",
        "a message leaves only when all its parts fit the window",
        SENDER,
        "            if self.in_flight + n > self.window and (self.in_flight or n <= <int>self.window):\n                break",
        "            if False:\n                break",
        ("tests/smpp/test_pump_window.py::test_a_message_waits_until_all_its_parts_fit_the_window",),
        OF_SENDER,
    ),
    Mutant(
        "any-length-is-read",
        "a stranger's length never makes us wait for it",
        PUMP,
        "            if n < 16 or n > MAX_PDU:",
        "            if n < 16:",
        ("tests/smpp/test_pump_garbage.py::test_a_wrong_command_length_breaks_the_bind_after_what_came_before",),
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
    # coupons
    Mutant(
        "code-of-somebody-else",
        "the code in a text is that of the member it went to",
        "dispatcher/campaigns/render.h",
        "        coupon_code(j->coupon, j->first_member + slot, room);",
        "        coupon_code(j->coupon, slot, room);",
        ("tests/campaigns/test_render.py::test_with_the_pools_key_each_member_has_his_own_code",),
        ("campaigns/_render",),
    ),
    Mutant(
        "any-code-is-somebodys",
        "a guessed code is nobody's",
        "dispatcher/coupons/code.h",
        "    return bits & (((uint64_t)1 << COUPON_ZEROS) - 1) ? -1 :",
        "    return 0 ? -1 :",
        ("tests/coupons/test_code.py",),
        ("coupons/_code",),
    ),
    Mutant(
        "started-with-a-closed-pool",
        "nobody is sent a code that no till takes",
        "dispatcher/campaigns/life.py",
        "    hold_previewed(view, tenant.number, row, start_of(row, envelope.at_ms))\n",
        "",
        ("tests/campaigns/test_coupon_pool.py",),
    ),
    Mutant(
        "rehearsed-with-the-key",
        "a rehearsal can make no code",
        "dispatcher/campaigns/rehearsal.py",
        'pack({**pool, "key": b""})',
        "pack(pool)",
        (
            "tests/campaigns/test_coupon_pool.py::test_a_rehearsals_store_has_the_pool_without_its_key_and_its_texts_no_code",
        ),
    ),
    Mutant(
        "redeemed-by-each-of-a-merged-person",
        "a person redeems a pool once, by whichever code",
        "dispatcher/coupons/redeem.py",
        "        for member_no in coupon.line\n        for redemption, row",
        "        for member_no in coupon.line[:1]\n        for redemption, row",
        ("tests/coupons/test_redeem.py::test_what_one_merged_code_redeemed_the_other_takes_back",),
    ),
    Mutant(
        "taken-back-and-still-earned",
        "what is taken back counts for no campaign",
        "dispatcher/coupons/redeem.py",
        '    changes.delete("redeemed", TENANT_U64.pack(tenant, redemption))\n',
        "",
        ("tests/coupons/test_redeem.py::test_what_is_taken_back_can_be_redeemed_again_and_is_in_stock_again",),
    ),
    Mutant(
        "out-of-stock-is-redeemed",
        "no more are redeemed than a pool has",
        "dispatcher/coupons/pool.py",
        "    if left(row) == 0:\n",
        "    if False:\n",
        ("tests/coupons/test_redeem.py::test_a_pool_that_is_closed_too_early_too_late_or_empty_is_told_apart",),
    ),
    Mutant(
        "an-erased-member-keeps-coupons",
        "a redemption of an erased member is nobody's",
        "dispatcher/members/erase.py",
        '    _Step("redemptions", _redemptions, _clean_redemption, weight=10),\n',
        "",
        ("tests/coupons/test_redeem.py::test_an_erased_member_leaves_a_redemption_of_nobody",),
    ),
)
