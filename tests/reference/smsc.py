"""What the simulator's kernel means: submit_sm in; log lines, answers and receipts out."""

from __future__ import annotations

import re
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
        self.queued_until_ns = 0

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
                self.accept(message, now_ms, now_ns)
            self.closed = True
            return
        if every(o.mute_every, self.submits):
            return
        if message:
            status = self.refusal_of(message, now_ns)
        body = b"" if status else self.id_text(self.accept(message, now_ms, now_ns), o.ids) + b"\0"
        if every(o.answer_lost_every, self.submits):
            return
        for _ in range(1 + every(o.answer_twice_every, self.submits)):
            tlv = b"" if o.congestion is None else b"\x04\x28\0\1" + bytes((self.congestion_of(now_ns),))
            text = b"\0" if tlv and not body else body
            self.answers.append(pdu_of(SUBMIT_SM_RESP, status, sequence, text + tlv))

    def refusal_of(self, m: dict, now_ns: int) -> int:
        o = self.options
        for kind, value, status in o.rules:
            if kind == "every":
                applies = every(value, self.submits)
            elif kind == "number":
                pattern = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in value)
                applies = re.fullmatch(pattern.encode(), m["dest"], re.DOTALL) is not None
            else:
                draw = mix(self.submits) if kind == "share" else hash_of(m["dest"])
                applies = draw & 0xFFFFFFFF < int(value / 100 * (1 << 32))
            if applies:
                return status
        if o.queue[0] and self.queued_until_ns - now_ns >= o.queue[0] * (10**9 // o.queue[1]):
            return 0x14
        caps = [cap for cap in (o.tps, o.account_tps, o.bind_tps) if cap]
        return 0x58 if any(self.in_last_second(now_ns) >= cap for cap in caps) else 0

    def in_last_second(self, now_ns: int) -> int:
        return sum(ns > now_ns - 10**9 for ns in self.accepted_ns)

    def congestion_of(self, now_ns: int) -> int:
        o = self.options
        if o.congestion != "auto":
            return o.congestion
        fills = [100 * self.in_last_second(now_ns) // cap for cap in (o.tps, o.account_tps, o.bind_tps) if cap]
        if o.queue[0]:
            fills.append(100 * max(0, self.queued_until_ns - now_ns) // (o.queue[0] * (10**9 // o.queue[1])))
        return min(100, max(fills, default=0))

    def accept(self, m: dict, now_ms: int, now_ns: int) -> int:
        id_, self.next_id = self.next_id, self.next_id + 1
        self.accepted_ns.append(now_ns)
        if self.options.queue[0]:
            self.queued_until_ns = max(self.queued_until_ns, now_ns) + 10**9 // self.options.queue[1]
        part, total = part_of(m)
        line = [str(now_ms).encode(), shown(m["source"]), shown(m["dest"]), b"%08x" % zlib.crc32(m["text"])]
        self.log.append(b"\t".join([*line, b"%d" % part, b"%d" % total, self.id_text(id_, self.options.ids)]) + b"\n")
        self.owe_receipt(m, id_, now_ms)
        self.owe_acks(m, id_)
        return id_

    def owe_receipt(self, m: dict, id_: int, now_ms: int) -> None:
        o, draw, wanted = self.options, mix(id_), m["registered_delivery"] & 3
        if not wanted or draw & 0xFFFFFFFF >= int(o.receipts / 100 * (1 << 32)):
            return
        word, error = self.state_of(id_)
        if (wanted == 2 and word == "DELIVRD") or (wanted == 3 and word != "DELIVRD"):
            return
        date = time.strftime("%y%m%d%H%M", time.gmtime(now_ms // 1000)).encode()
        quoted = m["text"][:20] if m["data_coding"] == 0 and not m["esm_class"] & 0x40 else b""
        text = b"id:%s sub:001 dlvrd:%s submit date:%s done date:%s stat:%s err:%s text:%s" % (
            self.id_text(id_, o.receipt_ids), b"001" if word == "DELIVRD" else b"000", date, date,
            word.encode(), error.encode().rjust(3, b"0"), quoted,
        )  # fmt: skip
        tlvs = b""
        if o.receipt_tlvs:
            tlv = self.id_text(id_, o.ids) + b"\0"
            tlvs += b"\0\x1e" + len(tlv).to_bytes(2, "big") + tlv
            tlvs += b"\x04\x27\0\1" + bytes((NUMBER_OF_STATE[word],))
        self.deliver(m, 0x04, text, tlvs)

    def owe_acks(self, m: dict, id_: int) -> None:
        o, draw = self.options, mix(id_ ^ 0xD1B54A32D192ED03)
        if self.state_of(id_)[0] != "DELIVRD":
            return
        if draw & 0xFFFFFFFF < int(o.delivery_acks / 100 * (1 << 32)):
            self.deliver(m, 0x08, o.ack_text.encode())
        if draw >> 32 < int(o.user_acks / 100 * (1 << 32)):
            self.deliver(m, 0x10, o.ack_text.encode())

    def state_of(self, id_: int) -> tuple[str, str]:
        words = [(word, error) for word, weight, error in self.options.states for _ in range(weight)]
        return words[(mix(id_) >> 32) % len(words)]

    def deliver(self, m: dict, esm_class: int, text: bytes, tlvs: bytes = b"") -> None:
        ends = bytes(m["dest_ton"]) + m["dest"] + b"\0" + bytes(m["source_ton"]) + m["source"] + b"\0"
        body = b"\0" + ends + bytes((esm_class,)) + bytes(8) + bytes((len(text),)) + text + tlvs
        self.receipts.append(pdu_of(DELIVER_SM, 0, len(self.receipts) + 1, body))

    @staticmethod
    def id_text(id_: int, form: str) -> bytes:
        forms = {"hex": b"%x", "hex-upper": b"%X", "padded": b"%020d", "hex-padded": b"%020X", "long": b"9000%020d"}
        return forms.get(form, b"%d") % id_


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


def hash_of(octets: bytes) -> int:
    h = 0xCBF29CE484222325
    for octet in octets:
        h = (h ^ octet) * 0x100000001B3 & M64
    return mix(h)


def shown(octets: bytes) -> bytes:
    return bytes(octet if 0x20 < octet < 0x7F else ord("?") for octet in octets)


def pdu_of(command_id: int, status: int, sequence: int, body: bytes) -> bytes:
    words = (16 + len(body), command_id, status, sequence)
    return b"".join(word.to_bytes(4, "big") for word in words) + body
