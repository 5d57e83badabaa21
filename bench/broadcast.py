"""One broadcast for a bench: its members, its campaign, and the simulator's log as the judge of who got what.

Touches: the Rig it is given, its store, its simulator's log. Needs pyarrow and numpy, of the extra `bench`: a log of
ten million lines is read in seconds. Members are a run of numbers in the order of their import.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from bench.rig import Rig
from dispatcher.campaigns.campaign import load
from dispatcher.clock import SystemClock
from dispatcher.control.commands import (
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
from dispatcher.store import Store, ledger
from dispatcher.store.layout import BLOCK

FIRST_MEMBER = 4_915_100_000_000
TEXT = "Hello {name|friend}, you have {points|0} points: today everything in the shop is half price"
NAMES = ("Anna", "Ben", "Clara", "David", "Elena", "Felix", "Grace", "Henry")
POINTS = 5_000  # a member has fewer, each number of them as often
LINES_AT_ONCE = 100_000
WAIT_S = 300.0
COLUMNS = ("at_ms", "source", "destination", "octets_hash", "part", "total")


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A previewed campaign to everyone."""

    campaign: int
    token: str
    will_send: int
    preview_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What the simulator's log has from an octet on."""

    at_ms: Any  # int64, ascending as the simulator wrote them
    numbers: Any
    hashes: Any

    @property
    def span_s(self) -> float:
        return max(1, int(self.at_ms.max() - self.at_ms.min())) / 1e3 if len(self.at_ms) else 0.0

    @property
    def per_s(self) -> float:
        return (len(self.at_ms) - 1) / self.span_s if len(self.at_ms) > 1 else 0.0

    def most_in(self, ms: int) -> int:
        """The most lines in any window of so many milliseconds."""
        at = np.sort(self.at_ms)
        return int((np.arange(len(at)) - np.searchsorted(at, at - ms, side="right")).max() + 1) if len(at) else 0


def open_shop(rig: Rig) -> None:
    rig.do(CreateTenant(title="Shop", region="DE", sender="10690000"), tenant=0)
    rig.do(DefineField(title="name", kind="text", max_length=40, label="Name", pii=True))


def add_members(rig: Rig, store: Store, members: int) -> float:
    """So many new ones, each with a name and points; the seconds of the import."""
    import_id = new_id(SystemClock().epoch_ms(), 1)
    place = import_folder(rig.data, import_id)
    place.mkdir(parents=True)
    with (place / "body").open("w") as body:
        body.write("phone,name,points\n")
        for start in range(0, members, LINES_AT_ONCE):
            body.writelines(
                f"+{FIRST_MEMBER + i},{NAMES[i & 7]},{i % POINTS}\n"
                for i in range(start, min(members, start + LINES_AT_ONCE))
            )
    octets = (place / "body").stat().st_size
    began = time.perf_counter()
    rig.do(OpenImport(import_id=import_id))
    finish_body(place, octets)
    rig.do(EndImportBody(import_id=import_id, octets=octets))

    def over() -> bool:
        with store.snapshot() as view:
            return (import_json(view, 1, import_id) or {}).get("state") in ("done", "failed", "cancelled")

    rig.wait("the import is done", over, WAIT_S, step_s=0.1)
    return time.perf_counter() - began


def draft(rig: Rig, text: str = TEXT, **campaign: Any) -> Broadcast:
    made = parse_public_id("cmp", rig.do(CreateCampaign(title="Bench", text=text, **campaign))["id"])
    assert made is not None
    began = time.perf_counter()
    preview = rig.do(PreviewCampaign(campaign=made))
    return Broadcast(made, str(preview["token"]), int(preview["will_send"]), time.perf_counter() - began)


def start(rig: Rig, broadcast: Broadcast) -> None:
    rig.do(StartCampaign(campaign=broadcast.campaign, token=broadcast.token))


def wait_done(rig: Rig, receipts: Callable[[], bool] = lambda: True, seconds: float = WAIT_S) -> float:
    """Until no campaign is being sent and `receipts`; the monotonic instant."""
    rig.wait("the broadcast is over", lambda: not rig.status()["campaigns"] and receipts(), seconds, step_s=0.05)
    return time.perf_counter()


def counts(store: Store, campaign: int) -> dict[str, Any]:
    with store.snapshot() as view:
        row = load(view, 1, campaign)
        assert row is not None
        return ledger.read_counts(view, campaign).summary(row["audience"])


def text_hashes(store: Store, campaign: int, audience: int) -> Any:
    """crc32 of what was claimed, by rank, as the ledger has it."""
    with store.snapshot() as view:
        found = [
            np.frombuffer(bytes(array)[: 4 * min(BLOCK, audience - first)], "<u4")
            for first in range(0, audience, BLOCK)
            if (array := ledger.read_array(view, campaign, "text_hash", first // BLOCK)) is not None
        ]
    return np.concatenate(found) if found else np.empty(0, "<u4")


def read_log(log: Path, begin: int = 0) -> Heard:
    with log.open("rb") as file:
        file.seek(begin)
        if not (octets := file.read()):
            return Heard(*(np.empty(0, "i8") for _ in range(3)))
    width = octets[: octets.index(b"\n")].count(b"\t") + 1
    names = [*COLUMNS, *(f"more{i}" for i in range(width - len(COLUMNS)))]
    table = pa.csv.read_csv(
        pa.BufferReader(octets),
        read_options=pa.csv.ReadOptions(column_names=names),
        parse_options=pa.csv.ParseOptions(delimiter="\t"),
        convert_options=pa.csv.ConvertOptions(
            include_columns=["at_ms", "destination", "octets_hash"],
            column_types={"at_ms": pa.int64(), "destination": pa.int64(), "octets_hash": pa.binary()},
        ),
    )
    return Heard(
        table["at_ms"].to_numpy(),
        table["destination"].to_numpy(),
        _hex(table["octets_hash"]),
    )


def _hex(column: Any) -> Any:
    """Eight hexadecimal digits each, as numbers."""
    digits = np.frombuffer(b"".join(column.cast(pa.binary(8)).to_pylist()), np.uint8).reshape(-1, 8)
    value = np.where(digits > 57, digits - 87, digits - 48).astype("u4")
    return (value << np.arange(28, -4, -4, dtype="u4")).sum(axis=1, dtype="u4")


def differences(heard: Heard, store: Store, broadcast: Broadcast) -> tuple[int, int, int]:
    """(lost, doubled, others' octets): members without a line, lines beyond one a member, lines that nobody claimed."""
    members, times = np.unique(heard.numbers - FIRST_MEMBER, return_counts=True)
    known = (members >= 0) & (members < broadcast.will_send)
    lost = broadcast.will_send - int(known.sum())
    doubled = int((times - 1).sum() + (~known).sum())
    claimed = np.sort(text_hashes(store, broadcast.campaign, broadcast.will_send))
    strange = int((np.sort(heard.hashes) != claimed).sum()) if len(claimed) == len(heard.hashes) else -1
    return lost, doubled, strange
