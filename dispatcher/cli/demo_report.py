"""What a person sees of the demo: steps with ticks and figures, the live line of a campaign, the funnel.

Touches: a rich Console: stdout, or stderr with --json; without a terminal plain lines, no colours to read round.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

LINE_EVERY_S = 1.0
BAR = 24
GUARDS = {"holdout": "held out, to measure the effect"}


class Report:
    def __init__(self, as_json: bool) -> None:
        self.console = Console(stderr=as_json, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._live: Live | None = None
        self._line_at = 0.0
        self._line = ""

    def title(self, text: str) -> None:
        self.console.print(text, style="bold")

    def done(self, text: str, seconds: float | None = None) -> None:
        took = "" if seconds is None else f"  {seconds:.1f} s" if seconds >= 1 else f"  {seconds * 1e3:,.0f} ms"
        self.console.print(Text.assemble(("  ✓ ", "green"), text, (took, "dim")))

    def bad(self, text: str) -> None:
        self.console.print(Text.assemble(("  ✗ ", "bold red"), text))

    def note(self, text: str) -> None:
        self.console.print(Text.assemble(("  · ", "dim"), text))

    @contextmanager
    def live(self) -> Iterator[None]:
        """Within it, line() replaces the line before; without a terminal it prints one now and then."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=10, transient=True) as self._live:
            try:
                yield
            finally:
                self._live = None

    def line(self, text: str) -> None:
        if self._live is not None:
            self._live.update(Text(f"  {text}"))
        elif text != self._line and time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at, self._line = time.monotonic(), text
            self.console.print(f"    {text}")

    def waterfall(self, matched: int, skipped: dict[str, int], will_send: int) -> None:
        """Who is taken away by which guard, and who is left."""
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
        table.add_column()
        table.add_column(justify="right")
        table.add_row("    matched", f"{matched:,}")
        for reason, count in skipped.items():
            table.add_row(f"    - {GUARDS.get(reason, reason.replace('_', ' '))}", f"{count:,}", style="dim")
        table.add_row("    will be sent to", f"{will_send:,}")
        self.console.print(table)

    def funnel(self, imported: dict[str, Any], result: dict[str, Any]) -> None:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
        table.add_column(style="bold")
        table.add_column(justify="right")
        table.add_column(justify="right", style="dim")
        sent, audience = result["sent"], result["audience"]

        def row(name: str, count: int, of: int) -> None:
            table.add_row(name, f"{count:,}", f"{100 * count / of:.1f} %" if of else "")

        row("  rows in the file", imported["rows_read"], imported["rows_read"])
        row("  members", imported["members_imported"], imported["rows_read"])
        row("  matched", audience, imported["members_imported"])
        for reason, count in result["skipped"].items():
            row(f"    skipped: {reason.replace('_', ' ')}", count, audience)
        row("  sent", sent, audience)
        row("  accepted", result["accepted"], sent)
        if by_receipt := result["settled_by_number"]:
            row("  known by its receipt alone", by_receipt, sent)
        for name in ("delivered", "failed", "expired", "uncertain", "pending"):
            row(f"    {name}", result[name], sent)
        self.console.print()
        self.console.print(table)
        self.console.print()


def progress_line(progress: dict[str, Any], will_send: int, accepted: int, per_s: float, in_flight: int) -> str:
    """A campaign on its way: bar, accepted, rate, in flight, delivered, time left."""
    share = min(1.0, accepted / will_send) if will_send else 1.0
    bar = "█" * round(share * BAR) + "░" * (BAR - round(share * BAR))
    left = max(0, will_send - accepted)
    eta = "done" if not left else f"{left / per_s:.0f} s left" if per_s >= 1 else "waiting"
    return (
        f"{bar} {100 * share:3.0f} %  accepted {accepted:,}  {per_s:,.0f}/s  in flight {in_flight:,}"
        f"  delivered {progress.get('delivered', 0):,}  {eta}"
    )
