"""smpp34 (Rust under asyncio) at its best: as many tasks as its window. See __init__.py for arguments."""

import asyncio
import os
import sys

import smpp34

HOST, PORT, FIRST, COUNT, WINDOW, RECEIPTS = sys.argv[1], *map(int, sys.argv[2:])
TEXT = b"Hello Anna, you have 1234 points: today everything in the shop is half price"

FIELDS = {"source_addr": "10690000", "dest_addr_ton": 1, "dest_addr_npi": 1, "registered_delivery": RECEIPTS}


async def main():
    client = smpp34.Client(HOST, PORT, "peer", "", bind_type="TRX", window_size=WINDOW)
    smsc = await client.connect()
    numbers = iter(range(FIRST, FIRST + COUNT))

    async def submit():
        for number in numbers:
            answer = await smsc.submit_sm(
                str(number),
                TEXT,
                source_addr="10690000",
                dest_addr_ton=1,
                dest_addr_npi=1,
                registered_delivery=RECEIPTS,
            )
            assert answer.is_success, answer.command_status

    async def listen():
        for _ in range(COUNT if RECEIPTS else 0):
            await smsc.next()

    await asyncio.gather(listen(), *(submit() for _ in range(WINDOW)))
    await client.stop()
    os._exit(0)  # 1.5.0 ends in a segmentation fault when the interpreter is taken down in order


asyncio.run(main())
