"""The simulator's kernel and its reference give the same answers, log lines and receipts."""

import os
import socket
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.smpp import _smsc as kernel
from dispatcher.smpp import _smsc_shared as shared
from dispatcher.smpp import codec
from dispatcher.smpp.consts import Tag
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Message
from dispatcher.smpp.smsc_options import ID_FORMS
from dispatcher.smpp.smsc_session import GARBAGE, KINDS, NUMBER_OF_STATE, SmscOptions
from tests.reference.smsc import DELIVER_SM, SUBMIT_SM_RESP, ReferenceSmsc

FIRST_ID = 1_790_000_000_000_000_000
NOW_MS, NOW_NS = 1_790_000_123_456, 5_000_000_000

address = st.text("0123456789ABC\t\x7f", min_size=1, max_size=20)
udh = st.binary(max_size=9) | st.sampled_from(
    [b"\5\0\3\7\3\2", b"\6\x08\4\1\2\3\1", b"\x08\x05\1\0\0\3\7\2\1", b"\5\0\3\7\2\3"]
)
tlvs = st.dictionaries(
    st.sampled_from([0x0424, 0x020C, 0x020E, 0x020F, 0x1400]),
    st.binary(max_size=3) | st.binary(max_size=300),
    max_size=3,
)
messages = st.builds(
    Message,
    source_addr=address,
    destination_addr=address,
    esm_class=st.sampled_from([0, 0x40, 0x43]),
    registered_delivery=st.sampled_from([0, 1, 1, 1, 2, 3, 17]),
    data_coding=st.sampled_from([0, 8]),
    short_message=st.tuples(udh, st.binary(max_size=150)).map(b"".join),
)


@st.composite
def submits(draw) -> list[bytes]:
    pdus = []
    for sequence in range(1, draw(st.integers(1, 12)) + 1):
        pdu = codec.encode_message(4, sequence, draw(messages)) + codec.encode_tlvs(draw(tlvs))
        damage = draw(st.none() | st.tuples(st.integers(16, 60), st.integers(0, 255)) | st.integers(16, 80))
        if isinstance(damage, tuple) and damage[0] < len(pdu):
            pdu = pdu[: damage[0]] + bytes((damage[1],)) + pdu[damage[0] + 1 :]
        elif isinstance(damage, int):
            pdu = pdu[:damage]
        pdus.append(len(pdu).to_bytes(4, "big") + pdu[4:])
    return pdus


every = st.sampled_from([0, 0, 0, 1, 2, 3, 5])
settings_of_smsc = st.builds(
    SmscOptions,
    tps=st.sampled_from([0, 0, 1, 4]),
    receipts=st.sampled_from([0.0, 50.0, 100.0]),
    receipt_tlvs=st.booleans(),
    delivery_acks=st.sampled_from([0.0, 0.0, 40.0]),
    user_acks=st.sampled_from([0.0, 0.0, 70.0]),
    drop_every=every,
    mute_every=every,
    status_every=st.sampled_from([(), ((3, 0x58),), ((2, 0x14), (3, 0x0B))]),
    answer_lost_every=every,
    answer_twice_every=every,
    status_number=st.sampled_from([(), (("1*", 0x0B),), (("*A?", 0x0B), ("?", 0x14))]),
    status_of_numbers=st.sampled_from([(), ((30.0, 0x14),)]),
    status_share=st.sampled_from([(), ((25.0, 0x08), (50.0, 0x45))]),
    queue=st.sampled_from([(0, 0), (2, 10), (5, 1_000_000_000)]),
    account_tps=st.sampled_from([0, 0, 3]),
    bind_tps=st.sampled_from([0, 0, 2]),
    congestion=st.sampled_from([None, 0, 77, "auto"]),
    ids=st.sampled_from(ID_FORMS),
    receipt_ids=st.sampled_from(ID_FORMS),
    states=st.sampled_from(
        [(("DELIVRD", 1, "000"),), (("DELIVRD", 3, "0"), ("UNDELIV", 2, "027"), ("EXPIRED", 1, "1"))]
    ),
)


class Rig:
    """A bound kernel connection and the ESME's end of its socket."""

    def __init__(self, options: SmscOptions, window: int = 100) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.smsc = shared.Smsc(self.log.fileno(), FIRST_ID)
        states = [(weight, NUMBER_OF_STATE[word], word, error) for word, weight, error in options.states]
        self.smsc.configure(options, states, [(KINDS[kind].octets, KINDS[kind].instead) for kind in options.garbage])
        self.account = shared.Account()
        self.account.limit(options.account_tps, options.bind_tps)
        self.window = window
        self.connect()

    def connect(self, rx: bool = True) -> None:
        self.theirs, self.ours = socket.socketpair()
        self.theirs.setblocking(False)
        self.ours.setblocking(False)
        self.connection = kernel.Connection(self.smsc, self.ours.fileno())
        self.connection.bind(self.account, True, rx, self.window)
        self.framer = Framer()

    def wake(self, now_ms: int = NOW_MS, now_ns: int = NOW_NS) -> int:
        return self.connection.wake(now_ms, now_ns)

    def read(self) -> list[bytes]:
        pdus = []
        while True:
            try:
                data = self.theirs.recv(1 << 20)
            except BlockingIOError:
                return pdus
            if not data:
                return pdus
            pdus += self.framer.feed(data)

    def lines(self) -> list[bytes]:
        return os.pread(self.log.fileno(), 1 << 24, 0).splitlines(keepends=True)

    def close(self) -> None:
        self.connection.close()
        self.theirs.close()
        self.ours.close()

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.log.close()


def by_kind(pdus: list[bytes], command_id: int) -> list[bytes]:
    return [pdu for pdu in pdus if int.from_bytes(pdu[4:8], "big") == command_id]


def submit(sequence: int, **fields: object) -> bytes:
    values = {"source_addr": "777", "destination_addr": "4915112345678", "registered_delivery": 1} | fields
    return codec.encode_message(4, sequence, Message(**values))


@settings(max_examples=300, deadline=None)
@given(options=settings_of_smsc, pdus=submits(), data=st.data())
def test_kernel_and_reference_agree_however_the_octets_are_cut(options, pdus, data):
    reference = ReferenceSmsc(options, FIRST_ID)
    for pdu in pdus:
        if not reference.closed:
            reference.submit(pdu, NOW_MS, NOW_NS)
    stream = b"".join(pdus)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    with Rig(options) as rig:
        got, what = [], 0
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            if begin < end and not what & kernel.CLOSE:
                rig.theirs.send(stream[begin:end])
                what = rig.wake()
                got += rig.read()
        assert rig.lines() == reference.log
        assert by_kind(got, SUBMIT_SM_RESP) == reference.answers
        assert bool(what & kernel.CLOSE) == reference.closed
        if not reference.closed:
            assert by_kind(got, DELIVER_SM) == reference.receipts


@settings(max_examples=200, deadline=None)
@given(octets=st.binary(min_size=1, max_size=300))
def test_any_octets_leave_the_kernel_whole(octets):
    with Rig(SmscOptions()) as rig:
        rig.theirs.send(octets)
        for _ in range(len(octets)):
            what = rig.wake()
            if not what & kernel.ODD or what & kernel.CLOSE:
                break
            rig.connection.take_odd()
        rig.theirs.close()
        assert rig.wake() & (kernel.CLOSE | kernel.ODD)


def test_the_tps_limit_slides():
    with Rig(SmscOptions(tps=2)) as rig:
        statuses = []
        for ns in (0, 400_000_000, 900_000_000, 1_000_000_000, 1_300_000_000, 1_400_000_000):
            rig.theirs.send(submit(1))
            rig.wake(now_ns=NOW_NS + ns)
            statuses += [pdu[11] for pdu in by_kind(rig.read(), SUBMIT_SM_RESP)]
        assert statuses == [0, 0, 0x58, 0, 0x58, 0]


def test_a_delayed_answer_leaves_when_due_and_an_enquire_link_does_not_wait_for_it():
    with Rig(SmscOptions(delay_ms=50)) as rig:
        rig.theirs.send(submit(1) + codec.encode(0x15, 0, 2) + submit(3))
        rig.wake()
        # the receipts overtake their answers
        assert [pdu[4:8].hex() for pdu in rig.read()] == ["80000015", "00000005", "00000005"]
        assert rig.connection.due_ns() == NOW_NS + 50_000_000 and len(rig.lines()) == 2
        rig.connection.push(NOW_MS, NOW_NS + 49_999_999)
        assert rig.read() == []
        rig.connection.push(NOW_MS, NOW_NS + 50_000_000)
        assert [pdu[12:16] for pdu in rig.read()] == [b"\0\0\0\1", b"\0\0\0\3"]


def test_receipts_keep_to_the_deliver_window_and_each_answer_makes_room_for_one():
    with Rig(SmscOptions(), window=2) as rig:
        for sequence in range(1, 6):
            rig.theirs.send(submit(sequence))
        assert rig.wake() & kernel.LEFT
        assert len(by_kind(rig.read(), DELIVER_SM)) == 2 and rig.account.pending == 3
        rig.theirs.send(codec.deliver_sm_resp(2))
        rig.wake()
        (third,) = by_kind(rig.read(), DELIVER_SM)
        assert third[12:16] == b"\0\0\0\3" and rig.connection.outstanding == 2


def test_unanswered_receipts_come_first_at_the_next_bind():
    with Rig(SmscOptions(), window=2) as rig:
        for sequence in range(1, 4):
            rig.theirs.send(submit(sequence))
        rig.wake()
        before = by_kind(rig.read(), DELIVER_SM)
        rig.theirs.send(codec.deliver_sm_resp(1))
        rig.wake()
        before += by_kind(rig.read(), DELIVER_SM)
        rig.close()
        rig.connect()
        rig.connection.push(NOW_MS, NOW_NS)
        assert [pdu[16:] for pdu in rig.read()] == [pdu[16:] for pdu in before[1:]]
        assert rig.smsc.count()["came_again"] == 2


def test_a_receipt_answered_not_now_comes_again_a_second_later():
    with Rig(SmscOptions()) as rig:
        rig.theirs.send(submit(1))
        rig.wake()
        (receipt,) = by_kind(rig.read(), DELIVER_SM)
        rig.theirs.send(codec.deliver_sm_resp(1, 0x64))
        rig.wake()
        assert rig.read() == [] and rig.account.due_ns() == NOW_NS + 1_000_000_000
        rig.connection.push(NOW_MS, NOW_NS + 1_000_000_000)
        (again,) = rig.read()
        assert again[16:] == receipt[16:]


def test_a_sequence_number_that_is_still_unanswered_is_not_used_again():
    with Rig(SmscOptions(), window=2) as rig:
        rig.theirs.send(submit(1))
        rig.wake()
        seen = {1}
        for sequence in range(2, 40):
            rig.theirs.send(submit(sequence))
            rig.wake()
            (pdu,) = by_kind(rig.read(), DELIVER_SM)[-1:]
            number = int.from_bytes(pdu[12:16], "big")
            assert number not in seen
            seen.add(number)
            rig.theirs.send(codec.deliver_sm_resp(number))
            rig.wake()
        assert rig.connection.outstanding == 1


def test_every_second_drop_is_accepted_and_logged_though_never_answered():
    with Rig(SmscOptions(drop_every=2)) as rig:
        for _ in range(2):
            rig.theirs.send(submit(1) + submit(2) + submit(3))
            assert rig.wake() & kernel.CLOSE
            assert [pdu[15] for pdu in by_kind(rig.read(), SUBMIT_SM_RESP)] == [1]
            rig.close()
            rig.connect()
        assert len(rig.lines()) == 3
        count = rig.smsc.count()
        assert (count["submits"], count["accepted"], count["dropped"]) == (4, 3, 2)


def test_a_log_that_cannot_be_written_stops_before_the_answer():
    with Rig(SmscOptions()) as rig:
        with open("/dev/null", "rb") as read_only:
            os.dup2(read_only.fileno(), rig.log.fileno())
        rig.theirs.send(submit(1))
        with pytest.raises(OSError, match="log"):
            rig.wake()
        assert rig.read() == []


def test_a_peer_that_does_not_read_is_not_read_either():
    with Rig(SmscOptions(receipts=0)) as rig:
        rig.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        block, sent, stuck = submit(1) * 500, 0, 0
        while stuck < 3:
            try:
                sent += rig.theirs.send(block[sent % len(submit(1)) :])
            except BlockingIOError:
                stuck += 1
            what = rig.wake()
        assert what & kernel.WRITE
        before = rig.smsc.count()["submits"]
        assert rig.wake() & kernel.WRITE and rig.smsc.count()["submits"] - before < 8000
        answers = []
        for _ in range(1000):
            answers += rig.read()
            if not rig.wake() & kernel.WRITE and len(answers) == sent // len(submit(1)):
                break
        assert len(answers) == sent // len(submit(1)) == rig.smsc.count()["accepted"]


def test_receipts_are_doubled_and_invented_as_told():
    with Rig(SmscOptions(receipt_twice_every=2, receipt_unknown_every=3)) as rig:
        rig.theirs.send(submit(1) + submit(2) + submit(3))
        rig.wake()
        texts = [codec.decode_message(pdu).short_message for pdu in by_kind(rig.read(), DELIVER_SM)]
        ids = [int(text.split()[0].removeprefix(b"id:")) for text in texts]
        assert [id_ - FIRST_ID for id_ in ids[:4]] == [0, 1, 1, 2] and len(ids) == 5 and ids[4] >= 1 << 63


def test_an_intermediate_notification_comes_before_and_behind_a_receipt_as_told():
    with Rig(SmscOptions(receipt_pending_every=2, receipt_tlvs=True)) as rig:
        rig.theirs.send(submit(1) + submit(2))
        rig.wake()
        told = [codec.decode_message(pdu) for pdu in by_kind(rig.read(), DELIVER_SM)]
        words = [(message.esm_class, message.short_message.split()[7]) for message in told]
        pending, final = (0x20, b"stat:ENROUTE"), (0x04, b"stat:DELIVRD")
        assert words == [final, pending, final, pending]
        assert [message.tlvs[Tag.MESSAGE_STATE] for message in told] == [b"\2", b"\1", b"\2", b"\1"]
        assert len({message.tlvs[Tag.RECEIPTED_MESSAGE_ID] for message in told}) == 2


def test_phones_acknowledge_what_arrived_behind_its_receipt_and_are_counted_apart():
    with Rig(SmscOptions(delivery_acks=100, user_acks=100, ack_text="menu 2", receipt_tlvs=True)) as rig:
        rig.theirs.send(submit(1))
        rig.wake()
        came = by_kind(rig.read(), DELIVER_SM)
        told = [codec.decode_message(pdu) for pdu in came]
        assert [(message.esm_class, bytes(message.short_message)) for message in told[1:]] == [
            (0x08, b"menu 2"),
            (0x10, b"menu 2"),
        ]
        receipt = told[0]
        assert receipt.esm_class == 0x04
        assert {(one.source_addr, one.destination_addr) for one in told} == {(receipt.source_addr, "777")}
        for pdu in came:
            rig.theirs.send(codec.encode(0x80000000 | DELIVER_SM, 0, codec.decode_header(pdu).sequence_number, b"\0"))
        rig.wake()
        count = rig.smsc.count()
        assert (count["acks_sent"], count["acks_answered"]) == (2, 2)
        assert (count["receipts_owed"], count["receipts_sent"], count["receipts_answered"]) == (1, 1, 1)


def test_only_what_arrived_is_acknowledged_and_a_share_is_of_all():
    with Rig(SmscOptions(delivery_acks=100, states=(("UNDELIV", 1, "001"),))) as rig:
        rig.theirs.send(submit(1))
        rig.wake()
        assert [codec.decode_message(pdu).esm_class for pdu in by_kind(rig.read(), DELIVER_SM)] == [0x04]
    with Rig(SmscOptions(user_acks=25, receipts=0), window=10_000) as rig:
        for sequence in range(1, 1_001):
            rig.theirs.send(submit(sequence))
            rig.wake()
            rig.read()
        assert 200 <= rig.smsc.count()["acks_sent"] <= 300


def test_a_whole_deliver_window_arrives_though_none_of_it_is_answered():
    with Rig(SmscOptions(), window=10_000) as rig:
        receipts = 0
        for sequence in range(1, 5001):
            rig.theirs.send(submit(sequence))
            if sequence % 50 == 0 or sequence == 5000:
                rig.connection.wake(NOW_MS, NOW_NS)
                receipts += len(by_kind(rig.read(), DELIVER_SM))
        while rig.wake() & kernel.WRITE:
            receipts += len(by_kind(rig.read(), DELIVER_SM))
        receipts += len(by_kind(rig.read(), DELIVER_SM))
        assert receipts == 5000 == rig.connection.outstanding


def test_a_transmitter_says_that_receipts_are_left_for_others():
    with Rig(SmscOptions()) as rig:
        rig.close()
        rig.connect(rx=False)
        rig.theirs.send(submit(1))
        assert rig.wake() == kernel.LEFT
        assert by_kind(rig.read(), DELIVER_SM) == []


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_goes_before_the_answer(kind):
    with Rig(SmscOptions(garbage_every=2, garbage=(kind,), receipts=0)) as rig:
        rig.theirs.send(submit(1) + submit(2))
        rig.wake()
        octets = rig.theirs.recv(4096)
        first = 16 + len(str(FIRST_ID)) + 1
        assert octets[first:].startswith(GARBAGE[kind]) and len(octets) == 2 * first + len(GARBAGE[kind])
