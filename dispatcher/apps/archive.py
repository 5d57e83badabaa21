"""Old campaigns: what is asked for once in a while goes from the store to a compressed file, what questions need stays.

Touches: the data folder's `archive`, ledger arrays, rows of `campaigns` and `archives`, through views; zstandard.

    archive/cmp_....ndjson.zst  a line a recipient by rank: {rank, member, group, decision, state, parts, tries, error,
                                submitted_at, final_at, message_id}, of several parts also message_ids, null where the
                                log no longer tells; zstd frames of FRAME_ROWS lines, any zstd reads it
    archives: tenant:2 campaign:8 -> msgpack {at_ms, file, octets, sha256, recipients, frames: u64 offsets, rows of one,
                                errors, endpoints, dropped: the arrays are gone}

Audience, decisions, states (of parts too) and times stay in the store, 11 octets a recipient of 24: segments, caps,
effects, days and the line of a report go on as before. The other arrays go, a slice a commit, after the file is on disk
and its row with it; then the log may age away. A receipt that comes later settles what stayed; its error makes an array
anew, which is never dropped and counts beside what the file knows. The file names members by id and has no number and
no value of theirs: whoever is erased is nobody in it. Files of earlier versions have the first part's message_id alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import zstandard

from dispatcher.apps.reports.campaign import report
from dispatcher.campaigns.campaign import DAEMON, LATER, campaign_json, load, need_campaign, save
from dispatcher.campaigns.recipients import recipients
from dispatcher.campaigns.states import OVER, conflict, hold_version, remember
from dispatcher.campaigns.underway import under_way
from dispatcher.control.commands import ArchiveCampaign, Envelope
from dispatcher.errors import StoreError
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import moving
from dispatcher.store import Snapshot, audit, ledger
from dispatcher.store.layout import ARCHIVE_FOLDER, ARRAYS, LEDGER_KEY, TENANT_U64
from dispatcher.store.part_ids import PartIds
from dispatcher.store.trail import Trail
from dispatcher.store.values import pack, unpack

FRAME_ROWS = 512  # some 80 kB of text: one person's line in 0.2 ms, and a file 6 % larger than with 4,096
FRAME_ROWS_ONCE = 4_096  # of rows that do not say
DROPPED = ("error", "tries", "text_hash", "log_no")
LOOKED_AT = 1_000  # rows of campaigns at a time, some 15 us each
SLICE_KEYS = 60  # arrays of 64 KiB deleted a commit: below 4 MiB
FILLED = ("tries", "error", "message_id")
DAY_MS = 86_400_000

Row = dict[str, Any]


def ask_archive(view: View, command: ArchiveCampaign, envelope: Envelope) -> tuple[Changes, Row]:
    """Have a campaign archived, by whoever keeps house. Repeating it changes nothing. Raises CommandRefused 409."""
    row = need_campaign(view, envelope.tenant, command.campaign)
    hold_version(row, envelope.version)
    if row["archive"]:
        return Changes(), campaign_json(command.campaign, row)
    if (why := unfit(view, command.campaign, row)) is not None:
        raise conflict(why, state=row["state"])
    row["archive"] = {"asked_ms": envelope.at_ms, "actor": envelope.actor, "at_ms": None}
    return save(envelope.tenant, command.campaign, row), campaign_json(command.campaign, row)


def unfit(view: View, campaign: int, row: Row) -> str | None:
    """Why a campaign cannot be archived; None when it can."""
    if row["state"] not in OVER:
        return f"a campaign that is {row['state']} cannot be archived: it is not over"
    counts = ledger.read_counts(view, campaign)
    left = {state.word: counts.state(state) for state in moving(row["receipts"]) if counts.state(state)}
    if left:
        return f"something of it is awaited still: {', '.join(f'{n:,} {word}' for word, n in left.items())}"
    return None


def next_asked(view: View) -> tuple[int, int] | None:
    """(tenant, campaign) that somebody wants archived, and that can be."""
    for tenant, campaign, row in under_way(view, *OVER):
        if row.get("archive") and _can_be(view, campaign, LATER | row):
            return tenant, campaign
    return None


def next_old(view: View, before_ms: int, after: bytes | None) -> tuple[tuple[int, int] | None, bytes | None]:
    """(tenant, campaign) that was over before an instant, among LOOKED_AT rows behind the key `after`; and where to go
    on looking, None at the end."""
    for looked, (key, octets) in enumerate(view.range("campaigns", after=after), start=1):
        row = LATER | unpack(octets)
        tenant, campaign = TENANT_U64.unpack(key)
        if row["finished_ms"] and row["finished_ms"] <= before_ms and _can_be(view, campaign, row):
            return (tenant, campaign), key
        if looked == LOOKED_AT:
            return None, key
    return None, None


def _can_be(view: View, campaign: int, row: Row) -> bool:
    done = row["archive"] and row["archive"]["at_ms"]
    return bool(row["started_ms"] and not done and unfit(view, campaign, row) is None)


def write(snapshot: Callable[[], Snapshot], folder: Path, tenant: int, campaign: int, now_ms: int) -> Row:
    """The file, on disk when this returns, and the row that is to be kept of it. Some 20 us a recipient, 40 more
    where messages have several parts: not for the process that sends."""
    place = folder / ARCHIVE_FOLDER
    place.mkdir(mode=0o770, exist_ok=True)
    name = f"{public_id('cmp', campaign)}.ndjson.zst"
    frames, many, digest = array("Q"), 0, hashlib.sha256()
    compressor, ids = zstandard.ZstdCompressor(level=6), PartIds(campaign)
    after: int | None = None
    with open(place / f"{name}.part", "wb") as file:
        while True:
            with snapshot() as view:
                rows = recipients(view, tenant, campaign, after_rank=after, limit=FRAME_ROWS)
                _tell_parts(view, ids, rows)
            if not rows:
                break
            for row in rows:
                del row["msisdn"]
            text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
            frame = compressor.compress(text.encode())
            frames.append(file.tell())
            file.write(frame)
            digest.update(frame)
            many, after = many + len(rows), rows[-1]["rank"]
        octets = file.tell()
        file.flush()
        os.fsync(file.fileno())
    os.replace(place / f"{name}.part", place / name)
    _sync(place)
    with snapshot() as view:
        told = report(view, tenant, campaign, now_ms)
    assert told is not None
    return {
        "file": name, "octets": octets, "sha256": digest.digest(), "recipients": many, "frames": frames.tobytes(),
        "errors": told["errors"], "endpoints": told["endpoints"], "rows": FRAME_ROWS,
    }  # fmt: skip


def _tell_parts(view: Snapshot, ids: PartIds, rows: list[Row]) -> None:
    """Give rows of several parts the message_id of each."""
    look = Trail(view)
    for row in rows:
        if row["parts"] > 1 and row["submitted_at"] is not None:
            since_ms, until_ms = _ms(row["submitted_at"]), row["final_at"] and _ms(row["final_at"])
            row["message_ids"] = ids.of(look, row["rank"], row["parts"], row["message_id"], since_ms, until_ms)


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def keep(view: View, tenant: int, campaign: int, written: Row, now_ms: int) -> Changes:
    """From now on the file tells. Nothing when the campaign is no longer what it was."""
    row = load(view, tenant, campaign)
    if row is None or unfit(view, campaign, row) is not None or (row["archive"] and row["archive"]["at_ms"]):
        return Changes()
    row["archive"] = {**(row["archive"] or {"asked_ms": None, "actor": DAEMON}), "at_ms": now_ms}
    remember(row, now_ms, DAEMON, f"archived: {written['recipients']:,} recipients in {written['file']}")
    changes = save(tenant, campaign, row)
    changes.put("archives", TENANT_U64.pack(tenant, campaign), pack({"at_ms": now_ms, **written}))
    told = {"file": written["file"], "sha256": written["sha256"].hex(), "recipients": written["recipients"]}
    audit.note(view, changes, DAEMON, "campaign.archived", tenant, now_ms, public_id("cmp", campaign), **told)
    return changes


def undropped(view: View) -> list[tuple[int, int]]:
    """(tenant, campaign) of archived ones that leave something in the store."""
    archived = [(tenant, campaign) for tenant, campaign, row in under_way(view, *OVER) if row.get("archive")]
    return [one for one in archived if (archive := kept(view, *one)) is not None and not archive["dropped"]]


def drop_some(view: View, tenant: int, campaign: int) -> tuple[Changes, bool]:
    """A slice of what an archived campaign leaves in the store; and whether there is more."""
    changes, archive = Changes(), kept(view, tenant, campaign)
    if archive is None or archive["dropped"]:  # an array that is there is of receipts that came later
        return changes, False
    for name in DROPPED:
        for key, _ in view.range("ledger", LEDGER_KEY.pack(campaign, ARRAYS[name][0], 0)[:9]):
            changes.delete("ledger", key)
            if len(changes.rows) == SLICE_KEYS:
                return changes, True
    changes.put("archives", TENANT_U64.pack(tenant, campaign), pack({**archive, "dropped": True}))
    return changes, False


def kept(view: View, tenant: int, campaign: int) -> Row | None:
    """What is kept of an archived campaign; None for another."""
    octets = view.get("archives", TENANT_U64.pack(tenant, campaign))
    return None if octets is None else {"dropped": False, **unpack(octets)}


def recipients_anywhere(view: Snapshot, tenant: int, campaign: int, *, folder: Path, **asked: Any) -> list[Row]:
    """recipients() of any campaign; of an archived one what the store has no more comes from its file."""
    rows = recipients(view, tenant, campaign, **asked)
    archive = kept(view, tenant, campaign)
    return rows if archive is None else list(filled(folder, archive, rows))


def filled(folder: Path, archive: Row, rows: Iterable[Row]) -> Iterator[Row]:
    """The same rows, by ascending rank, with what their lines in the file say and the store no more. Raises
    StoreError."""
    for row, line in _with_lines(folder, archive, rows):
        yield row | {name: line[name] for name in FILLED if not row[name]}


def _with_lines(folder: Path, archive: Row, rows: Iterable[Row]) -> Iterator[tuple[Row, Row]]:
    frames, size = array("Q", archive["frames"]), archive.get("rows", FRAME_ROWS_ONCE)
    at, lines = -1, list[bytes]()
    for row in rows:
        frame, number = divmod(row["rank"], size)
        if frame != at:
            at, lines = frame, _frame(folder / ARCHIVE_FOLDER / archive["file"], frames, frame, archive["octets"])
        yield row, json.loads(lines[number])


def filled_one(view: View, tenant: int, campaign: int, row: Row, folder: Path | None) -> tuple[Row, bool]:
    """One recipient with what an archive says of it, and whether that is all: a file that is missing or damaged keeps
    nobody from the rest. `message_ids` has those of all parts, where the file knows them. folder: of the data; None:
    only what the store has."""
    archive = kept(view, tenant, campaign)
    if archive is None or folder is None:
        return row, archive is None
    try:
        ((row, line),) = _with_lines(folder, archive, [row])
    except StoreError:  # `volley verify` names the file
        return row, False
    more = {"message_ids": line["message_ids"]} if "message_ids" in line else {}
    return row | {name: line[name] for name in FILLED if not row[name]} | more, True


def _frame(path: Path, frames: array[int], frame: int, octets: int) -> list[bytes]:
    end = frames[frame + 1] if frame + 1 < len(frames) else octets
    try:
        with open(path, "rb") as file:
            file.seek(frames[frame])
            return zstandard.ZstdDecompressor().decompress(file.read(end - frames[frame])).split(b"\n")
    except (OSError, zstandard.ZstdError, IndexError) as exc:
        raise StoreError(f"{path}: {exc}") from exc


def _sync(place: Path) -> None:
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
