"""An import's body on the disk: when it counts as there."""

from __future__ import annotations

import asyncio
from pathlib import Path

from admin.spool import Spool
from dispatcher.members.import_files import body_octets

BODY = b"phone,name\n8613800000001,Li\n"


async def whole(spool: Spool) -> int:
    await spool.open()
    await spool.append(BODY)
    return await spool.finish()


def test_a_body_is_whole_only_after_an_fsync_of_all_of_it_and_of_its_folder(tmp_path: Path, synced):
    spool = Spool(tmp_path, 7)
    assert asyncio.run(whole(spool)) == len(BODY)
    assert body_octets(spool.folder) == len(BODY)
    names = [name for name, _ in synced]
    assert ("body", len(BODY)) in synced
    assert spool.folder.name in names[names.index("body") :], "the name in its folder, after the octets"


def test_a_piece_that_waits_for_the_next_is_on_disk_and_the_next_begins_at_its_end(tmp_path: Path, synced):
    async def two_pieces() -> int:
        first = Spool(tmp_path, 7)
        await first.open()
        await first.append(BODY[:9])
        assert await first.rest() == 9
        first.close()
        assert ("body", 9) in synced and body_octets(first.folder) is None
        second = Spool(tmp_path, 7)
        await second.resume()
        assert second.octets == 9
        await second.append(BODY[9:])
        return await second.finish()

    assert asyncio.run(two_pieces()) == len(BODY)
    assert (Spool(tmp_path, 7).folder / "body").read_bytes() == BODY
