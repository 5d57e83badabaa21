"""A stand-in for bearerbox and smsbox, called as they are with their configuration: what it takes over HTTP it submits
over SMPP. It reads the file as Kannel does, a group ends with an empty line, and knows no key that Kannel does not.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from smpplib import client, smpp

KEYS = {
    "core": "admin-port admin-password smsbox-port smsbox-max-pending box-deny-ip box-allow-ip dlr-storage log-level",
    "smsc": "smsc smsc-id host port transceiver-mode smsc-username smsc-password system-type max-pending-submits",
    "smsbox": "bearerbox-host sendsms-port global-sender log-level",
    "sendsms-user": "username password user-allow-ip",
}


def groups(text: str) -> list[dict[str, str]]:
    """Raises ValueError on a group or key that is not Kannel's."""
    found = []
    for block in text.strip().split("\n\n"):
        pairs = [line.split(" = ", 1) for line in block.splitlines()]
        group = {key: value.strip('"') for key, value in pairs}
        if set(group) - {"group"} != set(KEYS[group["group"]].split()):
            raise ValueError(f"{group}")
        found.append(group)
    return found


def main(program: str, file: str) -> None:
    core, smsc, _, box, user = groups(Path(file).read_text())
    if program == "bearerbox":
        with socket.create_server(("127.0.0.1", int(core["smsbox-port"]))):
            time.sleep(600)
    esme = client.Client(smsc["host"], int(smsc["port"]), allow_unknown_opt_params=True)
    esme.connect()
    esme.bind_transceiver(system_id=smsc["smsc-username"], password=smsc["smsc-password"])
    turn = threading.Lock()

    class Sendsms(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlparse(self.path).query).items()}
            good = (asked["username"], asked["password"]) == (user["username"], user["password"])
            if good:
                with turn:
                    esme.send_pdu(smpp.make_pdu(
                        "submit_sm", client=esme, source_addr=asked["from"], destination_addr=asked["to"],
                        short_message=asked["text"].encode(), registered_delivery=int("dlr-mask" in asked),
                    ))  # fmt: skip
            body = b"0: Accepted for delivery" if good else b"Authorization failed for sendsms"
            self.send_response(202 if good else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    threading.Thread(target=esme.listen, daemon=True).start()  # answers receipts
    ThreadingHTTPServer(("127.0.0.1", int(box["sendsms-port"])), Sendsms).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
