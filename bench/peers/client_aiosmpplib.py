"""aiosmpplib at its best: a full queue, no log, no rate limit. See __init__.py for arguments."""

import asyncio
import sys

from aiosmpplib import ESME, AbstractBroker, AbstractHook, PhoneNumber, SubmitSm, SubmitSmResp
from aiosmpplib.state import NPI, TON

HOST, PORT, FIRST, COUNT, WINDOW, RECEIPTS = sys.argv[1], *map(int, sys.argv[2:])
TEXT = "Hello Anna, you have 1234 points: today everything in the shop is half price"


class Queue(AbstractBroker):
    """Every message in turn, no more unanswered than the window."""

    def __init__(self):
        self.next = FIRST
        self.window = asyncio.Semaphore(WINDOW)

    async def enqueue(self, message):
        raise NotImplementedError

    async def dequeue(self):
        await self.window.acquire()
        if self.next == FIRST + COUNT:
            await asyncio.Event().wait()
        self.next += 1
        return SubmitSm(
            short_message=TEXT,
            source=PhoneNumber("10690000", TON.UNKNOWN, NPI.UNKNOWN),
            destination=PhoneNumber(str(self.next - 1), TON.INTERNATIONAL, NPI.ISDN),
            registered_delivery=RECEIPTS,
        )


class Counted(AbstractHook):
    def __init__(self, queue):
        self.queue, self.answered, self.came, self.over = queue, 0, 0, asyncio.Event()

    async def sending(self, smpp_message, pdu, client_id):
        pass

    async def received(self, smpp_message, pdu, client_id):
        if isinstance(smpp_message, SubmitSmResp):
            self.answered += 1
            self.queue.window.release()
        elif pdu[4:8] == b"\0\0\0\5":
            self.came += 1
        if self.answered >= COUNT and (not RECEIPTS or self.came >= COUNT):
            self.over.set()

    async def send_error(self, smpp_message, error, client_id):
        raise SystemExit(f"not sent: {error}")


async def main():
    queue = Queue()
    hook = Counted(queue)
    esme = ESME(HOST, PORT, "peer", "", broker=queue, hook=hook, log_level="CRITICAL")
    running = asyncio.create_task(esme.start())
    await hook.over.wait()
    await esme.stop()
    running.cancel()


asyncio.run(main())
