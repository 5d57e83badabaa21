"""What the simulator's kernel means: submit_sm in; log lines, answers and receipts out."""

from __future__ import annotations

import time
import zlib

from dispatcher.smpp.smsc_session import NUMBER_OF_STATE, SmscOptions

SUBMIT_SM_RESP, DELIVER_SM = 0x80000004, 5
M64 = (1 << 64) - 1


class Malformed(Exception):
    """The command_status for it is the only argument."""


class ReferenceSmsc:
    def __init__(self, options: SmscOptions, first_id: int) -> None:
        self.options, self.next_id = options, first_id
        self.submits = self.dropped = 0
        self.accepted_ns: list[int] = []
        self.log: list[bytes] = []
        self.answers: list[bytes] = []
        self.receipts: list[bytes] = []
        self.closed = False

    def submit(self, pdu: bytes, now_ms: int, now_ns: int) -> None:
        o, sequence, status, message = self.options, int.from_bytes(pdu[12:16], "big"), 0, None
        self.submits += 1
        try:
            message = read_submit(pdu)
        except Malformed as exc:
            status = exc.args[0]
        if every(o.drop_every, self.submits):
            self.dropped += 1
            if self.dropped % 2 == 0 and message:
                self.accept(message, now_ms)
            self.closed = True
            return
        if every(o.mute_every, self.submits):
            return
        status = status or next((s for n, s in o.status_every if every(n, self.submits)), 0)
        if not status and o.tps:
            if len(self.accepted_ns) >= o.tps and now_ns - self.accepted_ns[-o.tps] < 10**9:
                status = 0x58
            else:
                self.accepted_ns.append(now_ns)
        body = b"" if status else self.id_text(self.accept(message, now_ms), o.ids) + b"\0"
        self.answers.append(pdu_of(SUBMIT_SM_RESP, status, sequence, body))

    def accept(self, m: dict, now_ms: int) -> int:
        id_, self.next_id = self.next_id, self.next_id + 1
        part, total = part_of(m)
        line = [str(now_ms).encode(), shown(m["source"]), shown(m["dest"]), b"%08x" % zlib.crc32(m["text"])]
        self.log.append(b"\t".join([*line, b"%d" % part, b"%d" % total, self.id_text(id_, self.options.ids)]) + b"\n")
        self.owe_receipt(m, id_, now_ms)
        return id_

    def owe_receipt(self, m: dict, id_: int, now_ms: int) -> None:
        o, draw, wanted = self.options, mix(id_), m["registered_delivery"] & 3
        if not wanted or draw & 0xFFFFFFFF >= int(o.receipts / 100 * (1 << 32)):
            return
        words = [(word, error) for word, weight, error in o.states for _ in range(weight)]
        word, error = words[(draw >> 32) % len(words)]
        if (wanted == 2 and word == "DELIVRD") or (wanted == 3 and word != "DELIVRD"):
            return
        date = time.strftime("%y%m%d%H%M", time.gmtime(now_ms // 1000)).encode()
        quoted = m["text"][:20] if m["data_coding"] == 0 and not m["esm_class"] & 0x40 else b""
        text = b"id:%s sub:001 dlvrd:%s submit date:%s done date:%s stat:%s err:%s text:%s" % (
            self.id_text(id_, o.receipt_ids), b"001" if word == "DELIVRD" else b"000", date, date,
            word.encode(), error.encode().rjust(3, b"0"), quoted,
        )  # fmt: skip
        ends = bytes(m["dest_ton"]) + m["dest"] + b"\0" + bytes(m["source_ton"]) + m["source"] + b"\0"
        body = b"\0" + ends + b"\4" + bytes(8) + bytes((len(text),)) + text
        if o.receipt_tlvs:
            tlv = self.id_text(id_, o.ids) + b"\0"
            body += b"\0\x1e" + len(tlv).to_bytes(2, "big") + tlv
            body += b"\x04\x27\0\1" + bytes((NUMBER_OF_STATE[word],))
        self.receipts.append(pdu_of(DELIVER_SM, 0, len(self.receipts) + 1, body))

    @staticmethod
    def id_text(id_: int, form: str) -> bytes:
        return (b"%x" if form == "hex" else b"%d") % id_


def read_submit(pdu: bytes) -> dict:
    m: dict = {}
    at = 16

    def octets(count: int) -> bytes:
        nonlocal at
        if at + count > len(pdu):
            raise Malformed(0x02)
        at += count
        return pdu[at - count : at]

    def text(most: int, status: int) -> bytes:
        nonlocal at
        end = pdu.find(b"\0", at, at + most)
        if end < 0:
            raise Malformed(status)
        at, begin = end + 1, at
        return pdu[begin:end]

    text(6, 0x15)
    m["source_ton"], m["source"] = octets(2), text(21, 0x0A)
    m["dest_ton"], m["dest"] = octets(2), text(21, 0x0B)
    if not m["dest"]:
        raise Malformed(0x0B)
    m["esm_class"] = octets(3)[0]
    text(17, 0x61)
    text(17, 0x62)
    m["registered_delivery"], _, m["data_coding"], _, sm_length = octets(5)
    if sm_length > 254 or at + sm_length > len(pdu):
        raise Malformed(0x01)
    m["text"] = octets(sm_length)
    m["tlvs"] = {}
    while at + 4 <= len(pdu):
        tag, size = int.from_bytes(pdu[at : at + 2], "big"), int.from_bytes(pdu[at + 2 : at + 4], "big")
        if at + 4 + size > len(pdu):
            raise Malformed(0xC0)
        m["tlvs"][tag] = pdu[at + 4 : at + 4 + size]
        if tag == 0x0424 and not m["text"]:
            m["text"] = m["tlvs"][tag]
        at += 4 + size
    if at != len(pdu):
        raise Malformed(0xC0)
    return m


def part_of(m: dict) -> tuple[int, int]:
    found = 1, 1
    sar = [m["tlvs"][tag][0] if len(m["tlvs"].get(tag, b"")) == 1 else 0 for tag in (0x020F, 0x020E)]
    if 0 < sar[0] <= sar[1]:
        found = sar[0], sar[1]
    text = m["text"]
    if not m["esm_class"] & 0x40 or not text or text[0] >= len(text):
        return found
    at, end = 1, 1 + text[0]
    while at + 2 <= end and at + 2 + text[at + 1] <= end:
        data = text[at + 2 : at + 2 + text[at + 1]]
        if (text[at], len(data)) in ((0, 3), (8, 4)) and 0 < data[-1] <= data[-2]:
            found = data[-1], data[-2]
        at += 2 + len(data)
    return found


def every(n: int, k: int) -> bool:
    return n > 0 and k % n == 0


def mix(x: int) -> int:
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & M64
    return x ^ x >> 31


def shown(octets: bytes) -> bytes:
    return bytes(octet if 0x20 < octet < 0x7F else ord("?") for octet in octets)


def pdu_of(command_id: int, status: int, sequence: int, body: bytes) -> bytes:
    words = (16 + len(body), command_id, status, sequence)
    return b"".join(word.to_bytes(4, "big") for word in words) + body
