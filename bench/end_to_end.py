"""The canonical workload through the real daemon: import, count, preview, send, kill -9, a slow SMSC, each checked.

Two processes of ours, `volley smsc` and `python -m dispatcher`, on this machine's cores; commands go over the control
socket. The simulator's log is the judge: a line for each accepted submit_sm, written before its answer left.
    volley bench end_to_end [--members N] [--sync-delay-ms MS] [--data DIR] [--json]
Exit status 1 when a check of correctness fails; a target that is missed is only said.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import people
from bench.harness import Figure, disk_figures, face, print_figures
from bench.rig import Rig
from dispatcher.campaigns.campaign import load
from dispatcher.cli.demo_account import read_books
from dispatcher.cli.demo_judge import judge, read_lines
from dispatcher.cli.demo_kills import LogWatch
from dispatcher.clock import SystemClock
from dispatcher.control.commands import (
    CancelCampaign,
    CreateCampaign,
    CreateTenant,
    DefineField,
    EndImportBody,
    OpenImport,
    PreviewCampaign,
    StartCampaign,
)
from dispatcher.members.import_files import finish_body, import_folder
from dispatcher.members.importer import import_json
from dispatcher.records.keys import new_id, parse_public_id
from dispatcher.records.states import State
from dispatcher.segments.count import count
from dispatcher.store import Snapshot, Store, open_store
from dispatcher.store.ledger import read_counts
from dispatcher.store.verify import verify

SEGMENT = 'sex = "f" and tier in ("basic", "silver", "gold") and points >= 1000'  # about a third
TEXT = "Hello {name|friend}, you have {points|0} points. Reply STOP to opt out"
SEED = 1
COUNTS = 20
ANON_MB_MORE = 300  # over idle, DESIGN 1
SLOW_DELAY_MS, SLOW_S = 200, 10.0
PACED_BELOW = 200_000  # recipients: fewer would be sent before the kill
PACED_S = 5.0
QUIET_S = 0.1  # after a kill: what was in the sockets has reached the simulator
SETTLE_S = 1.0  # after a start, before memory is called idle
WAIT_S = 300.0


@dataclass(slots=True)
class Report:
    """Figures as they come, and what was wrong."""

    as_json: bool
    wrong: list[str] = field(default_factory=list)

    def show(self, *figures: Figure) -> None:
        print_figures(figures, self.as_json)

    def check(self, what: str, holds: bool, found: Any = "") -> None:
        if not holds:
            self.wrong.append(f"{what}: {found}" if found != "" else what)
        self.show(Figure(f"check: {what}", "yes" if holds else "NO", "", "yes", holds))


@dataclass(frozen=True, slots=True)
class Draft:
    """A previewed campaign."""

    campaign: int
    preview: dict[str, Any]
    took_s: float
    log_begin: int  # octets of the simulator's log before its first line


def main(argv: Sequence[str]) -> int:
    parser = face("end_to_end", __doc__)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--sync-delay-ms", type=float, default=0.0, help="as if each commit's sync took this longer")
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    options = parser.parse_args(argv)
    report = Report(options.json)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as name:
        folder = Path(name)
        report.show(*disk_figures(folder), Figure("sync delay added to each commit", options.sync_delay_ms, "ms"))
        with Rig(folder / "data", sync_delay_ms=options.sync_delay_ms) as rig, open_store(rig.data) as store:
            rig.start_smsc()
            rig.start_dispatcher()
            rig.wait_until_bound()
            time.sleep(SETTLE_S)
            idle_mb = rig.anon_mb()
            _import(report, rig, store, options.members)
            _count(report, store)
            _send(report, rig, store)
            _memory(report, "sending", idle_mb, rig)
            _kill(report, rig, store)
            _slow(report, rig, store)
            with store.snapshot() as view:
                problems = verify(view)["problems"]
            report.check("volley verify finds nothing", not problems, problems[:3])
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if report.wrong else 0


def _import(report: Report, rig: Rig, store: Store, members: int) -> None:
    """From the body's last octet on disk to the last row on disk."""
    rig.do(CreateTenant(title="Shop", region="CN", sender="10690000"), tenant=0)
    for body in people.define_fields():
        rig.do(DefineField(**body))  # type: ignore[arg-type]
    import_id = new_id(SystemClock().epoch_ms(), 1)
    place = import_folder(rig.data, import_id)
    place.mkdir(parents=True)
    expected = people.write_csv(place / "body", members, SEED)
    octets = (place / "body").stat().st_size
    began = time.perf_counter()
    rig.do(OpenImport(import_id=import_id))
    finish_body(place, octets)
    rig.do(EndImportBody(import_id=import_id, octets=octets))
    row: dict[str, Any] = {}

    def over() -> bool:
        nonlocal row
        with store.snapshot() as view:
            row = import_json(view, 1, import_id) or {}
        return row.get("state") in ("done", "failed", "cancelled")

    rig.wait("the import is done", over, WAIT_S)
    took_s = time.perf_counter() - began
    found = tuple(row[name] for name in ("rows_read", "members_imported", "rows_updated", "rows_rejected"))
    wanted = (expected.rows, expected.members, expected.updated, expected.rejected)
    report.show(Figure.of("import", round(members / took_s), "rows/s", least=150_000))
    report.check("every row imported, updated or rejected as written", found == wanted, (found, wanted))


def _count(report: Report, store: Store) -> None:
    took_ms, matched = [], set[int]()
    for _ in range(COUNTS):
        began = time.perf_counter()
        with store.snapshot() as view:
            matched.add(count(view, 1, SEGMENT, as_of_ms=SystemClock().epoch_ms())["matched"])
        took_ms.append(1e3 * (time.perf_counter() - began))
    report.show(
        Figure("members matched", matched.copy().pop(), "members"),
        Figure.of(f"count, best of {COUNTS}", round(min(took_ms), 2), "ms", most=5),
        Figure.of(f"count, p50 of {COUNTS}", round(statistics.median(took_ms), 2), "ms", most=5),
    )
    report.check("each count is the same", len(matched) == 1, matched)


def _draft(rig: Rig) -> Draft:
    made = rig.do(CreateCampaign(title="Bench", expr=SEGMENT, text=TEXT))
    campaign = parse_public_id("cmp", made["id"])
    assert campaign is not None
    began = time.perf_counter()
    preview = rig.do(PreviewCampaign(campaign=campaign))
    took_s = time.perf_counter() - began
    return Draft(campaign, preview, took_s, rig.smsc_log.stat().st_size)


def _send(report: Report, rig: Rig, store: Store) -> None:
    """At full speed, from the first line of the simulator's log to its last, and to the last receipt answered."""
    draft = _draft(rig)
    will_send = draft.preview["will_send"]
    report.show(Figure.of(f"preview of {draft.preview['matched']:,}", round(draft.took_s, 2), "s", most=2))
    report.check("every text is one part", list(draft.preview["parts"]) == ["1"], draft.preview["parts"])
    rig.do(StartCampaign(campaign=draft.campaign, token=draft.preview["token"]))
    log, last_receipt_ms, summary = LogWatch(rig.smsc_log), 0, dict[str, Any]()

    def over() -> bool:
        nonlocal last_receipt_ms, summary
        if log.accepted() < will_send:
            return False
        summary = rig.smsc_summary()
        last_receipt_ms = SystemClock().epoch_ms()
        return bool(summary["receipts_pending"] == 0)

    rig.wait("every receipt is answered", over, WAIT_S, step_s=0.005)
    status = rig.status()
    _wait_settled(rig, store, draft.campaign)
    first_ms, last_ms = _span_ms(rig.smsc_log, draft.log_begin)
    to_accepted, to_receipt = max(last_ms - first_ms, 1), max(last_receipt_ms - first_ms, 1)
    report.show(
        Figure.of("sent, to the last accepted", round(1e3 * will_send / to_accepted), "messages/s", least=200_000),
        Figure.of("sent, to the last receipt", round(1e3 * will_send / to_receipt), "messages/s", least=200_000),
        Figure("claim credit, greatest", status["claim_credit_max"], "parts"),
        Figure("commit p50", status["writer"]["commit_ms_p50"], "ms"),
        Figure("commit p99", status["writer"]["commit_ms_p99"], "ms"),
    )
    report.check("the simulator accepted as many as will be sent", summary["accepted"] == will_send, summary)
    counts = _judge(report, rig, store, draft, "sent")
    report.check("all delivered", counts["states"]["delivered"] == will_send == counts["sent"], counts)


def _kill(report: Report, rig: Rig, store: Store) -> None:
    """kill -9 at a third; from the spawn of the next dispatcher to its first submit in the simulator's log."""
    rig.stop_dispatcher()
    with store.snapshot() as view:
        matched = count(view, 1, SEGMENT, as_of_ms=SystemClock().epoch_ms())["matched"]
    rate = round(matched / PACED_S) if matched < PACED_BELOW else 0
    rig.start_dispatcher(rate=rate)
    rig.wait_until_bound()
    draft = _draft(rig)
    will_send, log = draft.preview["will_send"], LogWatch(rig.smsc_log)
    rig.do(StartCampaign(campaign=draft.campaign, token=draft.preview["token"]))
    rig.wait("a third is accepted", lambda: log.accepted() >= will_send // 3, WAIT_S, step_s=0.0005)
    rig.kill_dispatcher()
    reached = -1
    while reached != (reached := rig.smsc_log.stat().st_size):
        time.sleep(QUIET_S)
    accepted, spawned_ms = log.accepted(), SystemClock().epoch_ms()
    rig.start_dispatcher(rate=rate)
    rig.wait("the next dispatcher submits", lambda: rig.smsc_log.stat().st_size > reached, WAIT_S, step_s=0.005)
    _wait_settled(rig, store, draft.campaign)
    first_ms, _ = _span_ms(rig.smsc_log, reached)
    recovery = rig.status()["recoveries"][-1]
    report.show(
        Figure("accepted before the kill", accepted, "messages"),
        Figure.of("kill -9, start to first new submit", (first_ms - spawned_ms) / 1e3, "s", most=5),
        Figure("recovery, of which", recovery["took_s"], "s"),
        Figure("uncertain by the kill", recovery["uncertain"], "members", f"<= {recovery['claim_credit']:,}"),
        Figure("released by the kill", recovery["released"], "members"),
    )
    report.check("the kill found something unsent", accepted < will_send, accepted)
    report.check("uncertain are at most claim_credit", recovery["uncertain"] <= recovery["claim_credit"], recovery)
    report.check("none uncertain at or above the mark", recovery["at_or_above_mark"] == 0, recovery)
    counts = _judge(report, rig, store, draft, "killed")
    settled = counts["states"]["delivered"] + counts["states"]["uncertain"]
    report.check("after the kill all delivered or uncertain", settled == counts["sent"] == will_send, counts)


def _slow(report: Report, rig: Rig, store: Store) -> None:
    """An SMSC that takes its time, for SLOW_S; then the campaign is cancelled."""
    rig.stop_dispatcher()
    rig.start_smsc("--delay-ms", str(SLOW_DELAY_MS))
    rig.start_dispatcher()
    rig.wait_until_bound()
    time.sleep(SETTLE_S)
    idle_mb, rig.anon_mb_max = rig.anon_mb(), 0.0
    draft = _draft(rig)
    rig.do(StartCampaign(campaign=draft.campaign, token=draft.preview["token"]))
    began = time.perf_counter()
    rig.wait(
        "the slow SMSC was watched",
        lambda: time.perf_counter() - began > SLOW_S or not rig.status()["campaigns"],
        WAIT_S,
        step_s=0.1,
    )
    if rig.status()["campaigns"]:
        rig.do(CancelCampaign(campaign=draft.campaign))
    _wait_settled(rig, store, draft.campaign)
    _memory(report, f"answers after {SLOW_DELAY_MS} ms", idle_mb, rig)
    counts = _judge(report, rig, store, draft, "slow and cancelled")
    report.check("all that was sent is delivered", counts["states"]["delivered"] == counts["sent"], counts)
    stop_s = rig.stop_dispatcher()
    report.show(Figure.of("SIGTERM to the end", round(stop_s, 2), "s", most=15))


def _memory(report: Report, when: str, idle_mb: float, rig: Rig) -> None:
    report.show(
        Figure(f"RssAnon idle, {when}", round(idle_mb, 1), "MB"),
        Figure.of(f"RssAnon greatest over idle, {when}", round(rig.anon_mb_max - idle_mb, 1), "MB", most=ANON_MB_MORE),
    )


def _wait_settled(rig: Rig, store: Store, campaign: int) -> None:
    """Until nothing of it is on its way and no receipt is awaited, by the ledger."""

    def settled() -> bool:
        with store.snapshot() as view:
            books = _counts(view, campaign)
        moving = (State.CLAIMED, State.RETRY_WAIT, State.ACCEPTED)
        return not any(books["states"][state.word] for state in moving) and not rig.status()["campaigns"]

    rig.wait("the campaign is settled", settled, WAIT_S)


def _counts(view: Snapshot, campaign: int) -> dict[str, Any]:
    row = load(view, 1, campaign)
    assert row is not None
    return read_counts(view, campaign).summary(row["audience"])


def _span_ms(log: Path, begin: int) -> tuple[int, int]:
    """Times of the first and the last line from octet `begin` on."""
    first = last = 0
    for line in read_lines(log, begin):
        first = first or line.at_ms
        last = max(last, line.at_ms)
    return first, last


def _judge(report: Report, rig: Rig, store: Store, draft: Draft, when: str) -> dict[str, Any]:
    """Every recipient against the simulator's log; the campaign's counts."""
    with store.snapshot() as view:
        books = read_books(view, 1, draft.campaign)
        counts = books.counts.summary(books.row["audience"])
    verdict = judge(books.account, read_lines(rig.smsc_log, draft.log_begin))
    found = (verdict.lost, verdict.duplicates_on_wire)
    report.check(f"{when}: one log line for each, none lost or doubled", found == (0, 0), (found, verdict.examples))
    sums = sum(counts["skipped"].values()) + counts["sent"] + counts["unsent"]
    adds_up = sums == counts["audience"] == draft.preview["matched"] and not books.differences()
    report.check(f"{when}: the counts add up", adds_up and sum(counts["states"].values()) == counts["sent"], counts)
    return counts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
