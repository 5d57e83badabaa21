"""Conditions on what happened: who got a campaign of three million recipients, who got few messages of forty campaigns.

The frozen audience and the ledger's arrays are written as a preview and a fold leave them; counts are held against the
arrays themselves. DESIGN: an answer while one types, so < 50 ms.
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.harness import Figure, best_of, face, print_figures
from dispatcher.control.commands import CreateTenant, Envelope
from dispatcher.records.changes import Changes
from dispatcher.records.states import Decision, State
from dispatcher.segments.engagement import evaluate
from dispatcher.segments.given import Engaged, Key, MessagesIn
from dispatcher.store import Store, open_store
from dispatcher.store.layout import ARRAYS, BLOCK, HEADER, LEDGER_KEY, TENANT_U64, U64
from dispatcher.store.replies import REPLY, text_mark
from dispatcher.store.values import pack
from dispatcher.tenants.tenant import create_tenant, put_next_member_no

NOW_MS = 1_790_000_000_000
RECIPIENTS = 3_000_000
REPLIES = 200_000
SMALL = 40  # campaigns of a tenth of the members each
DELIVERED_SHARE = 90  # per cent; the others failed
MOST_MS = 50.0


def main(argv: Sequence[str]) -> int:
    parser = face("engagement", __doc__)
    parser.add_argument("--recipients", type=int, default=RECIPIENTS)
    given = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder) / "data", write=True, create=True, sync=False) as store,
    ):
        figures = measure(store, given.recipients)
    print_figures(figures, given.json)
    return int(any(figure.ok is False for figure in figures))


def measure(store: Store, recipients: int) -> list[Figure]:
    draw = random.Random(1)
    envelope = Envelope(tenant=0, actor="bench", at_ms=NOW_MS)
    with store.begin_write() as view:
        view.apply(create_tenant(view, CreateTenant(title="Shop"), envelope)[0])
        changes = Changes()
        put_next_member_no(changes, view, 1, recipients)
        view.apply(changes)
    big = NOW_MS << 16
    delivered = put_campaign(store, big, recipients, draw)
    small = [put_campaign(store, big + 1 + number, recipients // 10, draw) for number in range(SMALL)]
    assert small
    writers = put_replies(store, recipients, draw)
    keys: dict[str, tuple[Key, int | None]] = {
        f"received campaign, {recipients:,} recipients": (Engaged("received", big), delivered),
        "the same in a window": (Engaged("received", big, since_ms=NOW_MS - 5_000), delivered),
        "undelivered campaign": (Engaged("undelivered", big), recipients - delivered),
        f"replied to campaign, {REPLIES:,} messages": (Engaged("replied", big + SMALL), len(writers)),
        "the same with a text": (Engaged("replied", big + SMALL, text="1"), None),
        f"sent any of {SMALL + 1} campaigns": (Engaged("sent"), recipients),
        f"messages of {SMALL + 1} campaigns < {SMALL}": (MessagesIn(NOW_MS - 5_000, 0, SMALL - 1), None),
    }
    figures = []
    for name, (key, expected) in keys.items():
        ask = asking(store, key)
        assert expected is None or ask() == expected, name
        (best,) = best_of(5, ask)
        most = MOST_MS if isinstance(key, Engaged) and key.campaign else None
        figures.append(Figure.of(name, round(1e3 * best, 1), "ms", most=most))
    return figures


def put_replies(store: Store, recipients: int, draw: random.Random) -> set[int]:
    """From members of the last campaign, an hour after it; returns who wrote."""
    at_ms, writers = NOW_MS + 900, set()
    rows = []
    for n in range(REPLIES):
        member_no = draw.randrange(recipients // 10)
        writers.add(member_no)
        rows.append(
            (TENANT_U64.pack(1, (at_ms << 16) + n), REPLY.pack(at_ms, member_no, 0, text_mark(draw.choice("12"))))
        )
    changes = Changes()
    changes.put_many("replies", rows, append=True)
    store.apply(changes)
    return writers


def asking(store: Store, key: Key) -> Callable[[], int]:
    def ask() -> int:
        with store.snapshot() as view:
            found = evaluate(view, 1, [key], NOW_MS + 1_000)[key]
        return sum(int.from_bytes(bitmap, "little").bit_count() for bitmap in found.values())

    return ask


def put_campaign(store: Store, campaign: int, recipients: int, draw: random.Random) -> int:
    """To members 0 .. recipients - 1, all sent; returns how many were delivered."""
    changes, ranks = Changes(), b""
    for block in range(-(-recipients // BLOCK)):
        here = min(BLOCK, recipients - block * BLOCK)
        changes.put("bitmaps", LEDGER_KEY.pack(campaign, 0, block), ((1 << here) - 1).to_bytes(BLOCK // 8, "little"))
        ranks += struct.pack("<II", block, block * BLOCK)
    changes.put("bitmaps", LEDGER_KEY.pack(campaign, 2, 0), ranks)
    seconds, delivered = struct.pack("<I", NOW_MS // 1_000), 0
    for chunk in range(-(-recipients // BLOCK)):
        here = min(BLOCK, recipients - chunk * BLOCK)
        states = bytes(draw.choices((State.DELIVERED, State.FAILED), (DELIVERED_SHARE, 100 - DELIVERED_SHARE), k=here))
        delivered += states.count(State.DELIVERED)
        arrays = {
            "decision": bytes([Decision.SENT]) * here,
            "state": states,
            "submit_s": seconds * here,
            "final_s": seconds * here,
        }
        for name, octets in arrays.items():
            number, width = ARRAYS[name]
            head = struct.pack("<IB3xI", here, number, width).ljust(HEADER, b"\0")
            changes.put("ledger", LEDGER_KEY.pack(campaign, number, chunk), head + octets)
    counts = [0] * 64
    counts[Decision.SENT] = recipients
    counts[32 + State.DELIVERED], counts[32 + State.FAILED] = delivered, recipients - delivered
    changes.put("campaign_counts", U64.pack(campaign), struct.pack("<64Q", *counts))
    row = {"started_ms": NOW_MS, "finished_ms": None, "validity_s": 3_600, "audience": recipients, "title": "Bench"}
    changes.put("campaigns", TENANT_U64.pack(1, campaign), pack(row))
    store.apply(changes)
    return delivered


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
