"""smpplib at its best: a window kept full on one connection. See __init__.py for arguments."""

import logging
import socket
import sys

from smpplib import client, smpp

HOST, PORT, FIRST, COUNT, WINDOW, RECEIPTS = sys.argv[1], *map(int, sys.argv[2:])
TEXT = b"Hello Anna, you have 1234 points: today everything in the shop is half price"
logging.disable(logging.CRITICAL)
esme = client.Client(HOST, PORT, allow_unknown_opt_params=True)
answered = came = 0


def on_answer(pdu):
    global answered
    answered += 1


def on_receipt(pdu):
    global came
    came += 1


esme.set_message_sent_handler(on_answer)
esme.set_message_received_handler(on_receipt)
esme.connect()
esme._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
esme.bind_transceiver(system_id="peer", password="")
sent = 0
while answered < COUNT or (RECEIPTS and came < COUNT):
    while sent < COUNT and sent - answered < WINDOW:
        esme.send_pdu(
            smpp.make_pdu(
                "submit_sm",
                client=esme,
                source_addr="10690000",
                dest_addr_ton=1,
                dest_addr_npi=1,
                destination_addr=str(FIRST + sent),
                registered_delivery=RECEIPTS,
                short_message=TEXT,
            )
        )
        sent += 1
    esme.read_once()
esme.unbind()
