"""One run of the demo, step by step: from a CSV of members to the verdict on every message.

Touches: its folder, child processes, the admin API as a customer, and after their end the store, read only.
The steps in order are Demo.run(); each fills `figures`, so that a run cut short still tells what it knew.
"""

from __future__ import annotations

import json
import socket
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import people
from config import Endpoint, load
from config.load import FILE_NAME
from dispatcher.cli.demo_account import read_books, unlisted
from dispatcher.cli.demo_children import (
    Child,
    Children,
    DemoFailed,
    MemoryWatch,
    free_port,
    run_volley,
    start_smsc,
)
from dispatcher.cli.demo_customer import EXPR, Customer
from dispatcher.cli.demo_figures import Figures
from dispatcher.cli.demo_follow import HOLDING_S, Follower
from dispatcher.cli.demo_judge import Reply, judge, read_lines, spoken_after
from dispatcher.cli.demo_kills import Killer, LogWatch, Shares, StatusWatch
from dispatcher.cli.demo_replies import converse, pick, stop_in_mid_send
from dispatcher.cli.demo_report import Report
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Purpose
from dispatcher.store import open_store
from dispatcher.store.disk import sync_times_ms

UNLIMITED_FROM = 200_000  # recipients; below, the rate makes the sending last SENDING_S, so that it can be watched
SENDING_S = 10
RESPONSE_TIMEOUT_S = 5.0
APPROVAL_SHARE = 10  # a campaign to more than a tenth of the members needs somebody else's approval
STOP_S = 15.0  # what `volley serve` promises


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    members: int
    seed: int
    kills: int
    smsc: tuple[str, int] | None
    system_id: str
    password: str
    smsc_log: Path | None
    purpose: str
    binds: int
    window: int
    rate: int | None

    @property
    def parts_per_s(self) -> int:
        """The endpoint's rate; 0: no limit. The audience is counted later, a third of the members is near enough."""
        if self.rate is not None:
            return self.rate
        audience = self.members // 3
        return 0 if audience >= UNLIMITED_FROM else max(1, int(audience / SENDING_S))


class Demo:
    """`folder` is the data folder; the CSV and the logs lie in it too."""

    def __init__(self, options: Options, folder: Path, report: Report, began: float) -> None:
        self.options, self.folder, self.report = options, folder, report
        self.figures = Figures(kills_wanted=options.kills)
        self._began = began
        self._csv, self._mo = folder / "members.csv", folder / "phones.txt"
        self._log = options.smsc_log if options.smsc else folder / "smsc.log"
        self._key = self._url = self._tenant = self._campaign = ""
        self._smsc_port = 0
        self._serve: Child | None = None
        self._replies: list[Reply] = []
        self._stops: list[Reply] = []
        self._opted_before = 0
        self._unspared = False  # somebody was sent to after a confirmation
        self._start_ms = self._done_ms = 0

    def run(self) -> dict[str, Any]:
        figures, report = self.figures, self.report
        report.title(f"volley demo: {self.options.members:,} members, in {self.folder}")
        figures.fdatasync_ms_p50 = statistics.median(sync_times_ms(self.folder))
        expected = figures.expected = people.write_csv(self._csv, self.options.members, self.options.seed)
        report.done(f"{expected.rows:,} rows of members, {expected.rejected:,} bad, {expected.updated:,} repeated")
        with Children() as children:
            smsc = self._start_smsc(children)
            self._serve = self._start_serve(children)
            memory = MemoryWatch(self.folder)
            memory.start()
            customer = Customer(self._url, self._key)
            try:
                customer.await_ready(self._serve.check)
                report.done(f"volley serve answers at {self._url}")
                watch = LogWatch(self._log) if self._log else StatusWatch(load(data=self.folder, env={}).control_socket)
                self._import(customer)
                parts = self._preview(customer)
                figures.dispatcher_anon_mb_idle = memory.look()
                self._send(customer, watch, parts)
                if smsc is not None:
                    self._converse(customer)
            finally:
                memory.end()
                figures.dispatcher_anon_mb_max = memory.mb_max
                customer.close()
            self._stop(smsc)
        self._judge(watch)
        figures.seconds["total"] = time.monotonic() - self._began
        return self._told()

    # ---- the steps

    def _start_smsc(self, children: Children) -> Child | None:
        if self.options.smsc:
            self._smsc_port = self.options.smsc[1]
            try:
                socket.create_connection(self.options.smsc, timeout=10.0).close()
            except OSError as exc:
                raise DemoFailed(f"no SMSC at {self.options.smsc[0]}:{self._smsc_port}: {exc.strerror or exc}") from exc
            return None
        assert self._log is not None
        smsc, self._smsc_port = start_smsc(children, self.folder, self._log, self._mo)
        self.report.done(f"SMSC simulator on port {self._smsc_port}")
        return smsc

    def _start_serve(self, children: Children) -> Child:
        options, port = self.options, free_port()
        self._key = str(run_volley(["init", str(self.folder), "--json"])["secret"])
        self._url = f"http://127.0.0.1:{port}"
        endpoint = Endpoint(
            name="demo", host=options.smsc[0] if options.smsc else "127.0.0.1", port=self._smsc_port,
            system_id=options.system_id, password=options.password, binds=options.binds, window=options.window,
            rate=options.parts_per_s, response_timeout_s=RESPONSE_TIMEOUT_S,
        )  # fmt: skip
        (self.folder / FILE_NAME).write_text(settings_text(port, endpoint), "utf-8")
        return children.start("volley serve", ["serve", "--data", str(self.folder)], self.folder / "serve.log")

    def _import(self, customer: Customer) -> None:
        figures, report = self.figures, self.report
        customer.settle_in(max(1, self.options.members // APPROVAL_SHARE))
        self._tenant = customer.tenant
        report.done("a tenant, a key of its own, its fields")
        began = time.monotonic()
        import_id = customer.upload(self._csv)
        with report.live():
            for figures.imported in customer.await_import(import_id):
                report.line(f"import: {figures.imported['rows_read']:,} rows")
        took = figures.seconds["import"] = time.monotonic() - began
        imported = figures.imported
        report.done(
            f"import: {imported['members_imported']:,} members, {imported['rows_updated']:,} repeated numbers,"
            f" {imported['rows_rejected']:,} rejected; {imported['rows_read'] / took:,.0f} rows/s",
            took,
        )
        members, seed = self.options.members, self.options.seed
        suppressed, refusing = customer.suppress(members, seed), customer.refuse(members, seed)
        report.done(f"{suppressed:,} numbers on the suppression list, {refusing:,} people who said no to marketing")

    def _preview(self, customer: Customer) -> int:
        """Count, draft, preview, start; the parts that will be sent."""
        figures, report, purpose = self.figures, self.report, self.options.purpose
        question = {"expr": EXPR, "purpose": purpose}
        first_ms = customer.ask("POST", "/v1/segments:count", question)["ms"]  # reads the grammar, once a process
        counted, figures.seconds["count"] = customer.timed("POST", "/v1/segments:count", question)
        report.done(
            f"segment: {counted['matched']:,} members match, {counted['reachable']:,} of them reachable;"
            f" counted in {first_ms:.1f} ms, again in {counted['ms']:.1f} ms",
            figures.seconds["count"],
        )
        self._campaign = customer.draft(purpose)
        path = f"/v1/campaigns/{self._campaign}"
        preview, figures.seconds["preview"] = customer.timed("POST", f"{path}:preview")
        figures.audience = preview["audience"]
        parts: int = sum(int(size) * count for size, count in preview["parts"].items())
        report.done(f"preview: {preview['will_send']:,} messages, {parts:,} parts", figures.seconds["preview"])
        report.waterfall(preview["matched"], preview["skipped"], preview["will_send"])
        self._opted_before = preview["skipped"].get("opted_out", 0)
        for sample in preview["samples"][:2]:
            report.note(f"“{sample['text']}”")
        if preview["audience"] != counted["matched"]:
            figures.troubles.append(f"the preview matched {preview['audience']}, the count {counted['matched']}")
        start, approval = customer.approve(self._campaign, preview["token"])
        report.note(f"its author starts it: refused, {start}; its author approves it: refused, {approval}")
        report.done("approved with the manager's key")
        self._start_ms = time.time_ns() // 1_000_000
        customer.ask("POST", f"{path}:start", {"token": preview["token"]}, once=True)
        if not self.options.smsc:
            self._replies = self._stops = stop_in_mid_send(self._mo, self.options.members, self.options.seed)
        rate = self.options.parts_per_s
        report.done(f"started, {f'at {rate:,} parts/s' if rate else 'without a limit'}")
        if self._stops:
            report.note(f"{len(self._stops)} phones write STOP while it is sent")
        return parts

    def _send(self, customer: Customer, watch: LogWatch | StatusWatch, parts: int) -> None:
        assert self._serve is not None
        killer = Killer(self.folder, watch, Shares(self.options.kills).of(parts))
        follower = Follower(
            customer, self._campaign, parts, watch=watch, killer=killer, report=self.report, figures=self.figures,
            foreign=self.options.smsc is not None,
        )  # fmt: skip
        killer.start()
        try:
            with self.report.live():
                follower.until_over(self._serve.check)
        finally:
            killer.end()
            self.figures.kills = killer.kills
        self._done_ms = follower.done_ms
        follower.recovered()

    def _converse(self, customer: Customer) -> None:
        phones = pick(customer, self._campaign)
        if phones is None:
            self.figures.troubles.append("fewer than three messages were delivered: no phone to answer")
            return
        assert self._log is not None
        replies, shown, wrong = converse(customer, phones, self._mo, self._log)
        self._replies = [*self._stops, *replies]
        self.figures.troubles += wrong
        for line in [] if wrong else shown:
            self.report.done(line)

    def _stop(self, smsc: Child | None) -> None:
        assert self._serve is not None
        took = self._serve.stop()
        code = self._serve.process.returncode
        if code != 0 or took > STOP_S:
            self.figures.troubles.append(f"volley serve ended with {code}, {took:.1f} s after SIGTERM")
        self.report.done("volley serve drained and stopped", took)
        if smsc is not None:
            smsc.stop()

    def _judge(self, watch: LogWatch | StatusWatch) -> None:
        from dispatcher.store.verify import verify

        figures = self.figures
        tenant, campaign = parse_public_id("ten", self._tenant), parse_public_id("cmp", self._campaign)
        assert tenant is not None and campaign is not None
        with open_store(self.folder) as store, store.snapshot() as view:
            books = read_books(view, tenant, campaign)
            figures.troubles += [f"volley verify: {problem}" for problem in verify(view)["problems"][:5]]
        account = books.account
        figures.audience, figures.counts = books.row["audience"], books.counts
        figures.ledger_bytes = books.ledger_octets
        figures.unlisted = unlisted(account)
        figures.troubles += books.differences()
        if isinstance(watch, LogWatch):
            resends = Purpose(self.options.purpose).resends_uncertain
            try:
                figures.verdict = judge(account, read_lines(watch.path, watch.begin), self._replies, resends=resends)
                after = spoken_after(list(read_lines(watch.path, watch.begin)), self._stops)
            except (OSError, ValueError) as exc:
                raise DemoFailed(f"{watch.path} is not the log of an SMSC: {exc}") from exc
            self._unspared = bool(after)
            figures.troubles += [f"…{number[-4:]} was sent to after its confirmation of STOP" for number in after]
            self._done_ms = figures.verdict.last_ms or self._done_ms
        for kill in figures.kills:
            kill.found_unsent = account.unsent_at(kill.at_ms)
            if isinstance(watch, LogWatch) and kill.log_begins is not None:
                again_ms = next((line.at_ms for line in read_lines(watch.path, kill.log_begins)), None)
            else:  # its first claim, some milliseconds before its first submit
                again_ms = next((claimed_ms for claimed_ms in account.claims_ms if claimed_ms > kill.at_ms), None)
            kill.restart_s = None if again_ms is None else (again_ms - kill.at_ms) / 1e3
        figures.seconds["send"] = max(self._done_ms - self._start_ms, 0) / 1e3
        figures.sending_s = figures.seconds["send"] - sum(kill.restart_s or 0.0 for kill in figures.kills)

    # ---- what is shown at the end

    def _told(self) -> dict[str, Any]:
        figures, report = self.figures, self.report
        result, verdict = figures.result(), figures.verdict
        report.funnel(figures.imported, result)
        for number, kill in enumerate(figures.kills, 1):
            if kill.restart_s is not None:
                report.note(f"kill {number}: {kill.restart_s:.2f} s from the kill to the next message")
        if many := result["uncertain_at_restart"]:
            settled = f"{result['settled_by_number']:,} were settled by the one receipt that fits their number"
            report.note(f"{many:,} messages were uncertain after the kills; {settled}")
        report.note(
            f"{result['msgs_per_s']:,} messages/s while there was a dispatcher; its memory"
            f" {result['dispatcher_anon_mb_idle']:.0f} MB before, {result['dispatcher_anon_mb_max']:.0f} at most;"
            f" its ledger {result['ledger_bytes'] / 1e6:.1f} MB; fdatasync p50 {result['fdatasync_ms_p50']:.2f} ms"
        )
        if verdict is not None:
            said = report.done if not verdict.duplicates_on_wire and not result["lost"] else report.bad
            said(
                f"judged by the SMSC's own log: {verdict.lines:,} messages came, {verdict.duplicates_on_wire:,} of them"
                f" too many, {result['lost']:,} lost"
            )
        if self._stops:
            spared = result["skipped"].get("opted_out", 0) - self._opted_before
            report.note(
                f"STOP from {len(self._stops)} phones in mid-send: {spared} of them were still to be sent to and were"
                f" spared{'' if self._unspared else '; nobody got anything after their confirmation'}"
            )
        for reason in result["reasons"]:
            report.bad(reason)
        if result["ok"]:
            report.done("every message is accounted for", figures.seconds["total"])
        return result

    def autopsy(self) -> None:
        """The end of serve's log, for a run that went wrong."""
        if self._serve is not None:
            self.report.title(f"the end of {self._serve.output}")
            self.report.console.print(self._serve.tail())

    @property
    def has_store(self) -> bool:
        return bool(self._key)

    def how_to_look(self) -> None:
        self.report.title(f"the data folder stays: {self.folder}")
        if not self.has_store:
            return
        if not self.options.smsc:
            self.report.note(f"volley smsc --port {self._smsc_port} &    where the endpoint expects its SMSC")
        self.report.note(f"volley serve --data {self.folder}")
        tenant = f" -H 'X-Tenant: {self._tenant}'" if self._tenant else ""
        self.report.note(f"curl -H 'Authorization: Bearer {self._key}'{tenant} {self._url}/v1/campaigns")


def settings_text(api_port: int, endpoint: Endpoint) -> str:
    """The demo's volley.toml: what differs from the defaults."""
    keys = ("name", "host", "port", "system_id", "password", "binds", "window", "rate", "response_timeout_s")
    values = "".join(f"{key} = {json.dumps(getattr(endpoint, key))}\n" for key in keys)
    return f"[api]\nport = {api_port}\n\n[dispatcher]\nholding_s = {HOLDING_S}\n\n[[endpoint]]\n{values}"
