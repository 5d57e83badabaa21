"""How far an erasure reaches: parts of long messages that wait, kept message_ids, archives, the next backup."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio
import zstandard

from dispatcher.control import commands as c
from dispatcher.records.keys import public_member_id
from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.pdu import Message
from dispatcher.store import ids_kept
from dispatcher.store.backup import open_copy, write_backup
from dispatcher.store.layout import ARCHIVE_FOLDER
from dispatcher.store.verify import verify
from tests.daemon.test_ids_kept import archived, forget, ids
from tests.fakes.house import SENDER, House, in_house

THEIRS, OTHER = 3, 4  # members


def part(number: int, no: int, of: int, text: bytes) -> bytes:
    """A deliver_sm with a piece of a long message."""
    message = Message(
        source_addr_ton=1, source_addr_npi=1, source_addr=str(number), dest_addr_ton=0, dest_addr_npi=1,
        destination_addr=SENDER, esm_class=0x40, data_coding=0, short_message=bytes((5, 0, 3, 7, of, no)) + text, tlvs={},
    )  # fmt: skip
    return codec.encode_message(CommandId.DELIVER_SM, 0, message)


def octets_of(number: int) -> tuple[bytes, ...]:
    return str(number).encode(), number.to_bytes(8, "big"), number.to_bytes(8, "little")


def waiting(house: House) -> int:
    with house.dispatcher.store.snapshot() as view:
        return view.count("mo_parts")


def everything(folder: Path) -> bytes:
    """Of a backup: its file, and what its archives say."""
    files = [path.read_bytes() for path in (folder / ARCHIVE_FOLDER).iterdir()]
    texts = [zstandard.ZstdDecompressor().stream_reader(one, read_across_frames=True).read() for one in files]
    return b"".join([(folder / "data.mdb").read_bytes(), *texts])


@in_house(30, receipts=0, dispatcher={"holding_s": 0.2})
async def test_after_an_erasure_no_table_archive_segment_of_ids_or_backup_says_the_number(house: House):
    campaign = await house.send("Hi", validity_s=60)
    await house.until(lambda: house.counts(campaign)["accepted"] == 30)
    id_of = ids(house)
    await forget(house, campaign, 30)
    await house.do(c.ArchiveCampaign(campaign=campaign))
    await house.until(lambda: archived(house, campaign))
    number, other = house.numbers[THEIRS], house.numbers[OTHER]
    for from_ in (number, other):
        house.smsc.inject(part(from_, 1, 3, b"my number is %d and" % from_))
        house.smsc.inject(part(from_, 2, 3, b" I wait for the rest"))
    await house.until(lambda: waiting(house) == 6)
    store, data = house.dispatcher.store, house.settings.data
    await trio.to_thread.run_sync(partial(write_backup, store, data.parent / "before", 1))
    assert all(octets in everything(data.parent / "before") for octets in octets_of(number)[:2])
    await house.do(c.EraseMember(member_no=THEIRS))
    await house.until(lambda: waiting(house) == 3)
    await house.until(lambda: house.life.imports.running == 0)
    await trio.to_thread.run_sync(partial(write_backup, store, data.parent / "after", 2))
    after = everything(data.parent / "after")
    assert not [octets for octets in octets_of(number) if octets in after]
    assert str(other).encode() in after and other.to_bytes(8, "big") in after, "nobody else's is gone"
    assert public_member_id(THEIRS).encode() in after, "the archive still names who was somebody"
    key = house.dispatcher.book.key_of(id_of[str(number)].encode(), receipt=True)
    with open_copy(data.parent / "after") as copy, copy.snapshot() as view:
        assert ids_kept.look_up(view, [key]), "a receipt of then still counts in its campaign, which names nobody"
        assert verify(view, data.parent / "after")["problems"] == []


@in_house(5)
async def test_what_arrives_of_a_long_message_after_the_erasure_is_a_strangers(house: House):
    number = house.numbers[THEIRS]
    house.smsc.inject(part(number, 1, 2, b"secret"))
    await house.until(lambda: waiting(house) == 2)
    await house.do(c.EraseMember(member_no=THEIRS))
    await house.until(lambda: waiting(house) == 0)
    house.smsc.inject(part(number, 2, 2, b" end"))
    await house.until(lambda: waiting(house) == 2)
    with house.dispatcher.store.snapshot() as view:
        assert b"secret" not in b"".join(value for _, value in view.range("mo_parts"))
