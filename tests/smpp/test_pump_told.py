"""Parts told by UDH, SAR or as a payload, from the text to the octets on a socket; smpplib reads each of them."""

from hypothesis import given, settings
from hypothesis import strategies as st
from smpplib import smpp as judge

from dispatcher.campaigns.render import render_singles
from dispatcher.smpp.pump import BULK
from dispatcher.text.alphabet import clean
from dispatcher.text.coding import ALPHABETS, LONG_AS, Coding, encoder
from dispatcher.text.decode import decode, read_udh
from tests.smpp.line import NUMBER, Line, Sequence

TEXTS = st.text(st.sampled_from("ab €[日😀éş’\r\n\u0301\u200d🇩🇪"), max_size=700) | st.text(max_size=200)
WHOLE = TEXTS.map(lambda text: text.replace("\r", ""))  # one at the end of packed septets may be filling
CODINGS = st.builds(
    Coding,
    latin1=st.booleans(),
    default_alphabet=st.sampled_from(ALPHABETS),
    single_shift=st.sampled_from([0, 1]),
    long_as=st.sampled_from(LONG_AS),
)


def sent(line, batch):
    line.book.claim(BULK, line.run, batch.rows, batch.count, batch.octets)
    line.commit()
    return [(s.pdu, s) for s in line.submits()]


@settings(max_examples=120, deadline=None)
@given(text=WHOLE, coding=CODINGS, message_class=st.none() | st.integers(0, 3), rank=st.integers(0, 70_000))
def test_smpplib_reads_every_way_of_telling_parts(text, coding, message_class, rank):
    with Line(window=100) as line:
        pdus = sent(line, render_singles([(text, NUMBER, rank, 0)], 5, encoder(coding, message_class)))
    whole, total, refs = "", len(pdus), set()
    for no, (pdu, _) in enumerate(pdus, 1):
        read = judge.parse_pdu(pdu, client=Sequence())
        octets = read.short_message or b""
        if coding.long_as == "payload" and read.message_payload:
            assert not octets and total == 1 and read.esm_class == 0
            octets = read.message_payload
        elif coding.long_as == "sar" and total > 1:
            place = (read.sar_total_segments, read.sar_segment_seqnum)
            assert place == (total, no)
            refs.add(read.sar_msg_ref_num)
        elif total > 1:
            udh, _ = read_udh(octets)
            assert udh is not None and (udh.total, udh.part) == (total, no)
            refs.add(udh.reference)
        whole += decode(read.data_coding, octets, read.esm_class == 0x40, coding.default_alphabet) or ""
    assert whole == clean(text)
    bits = 16 if coding.long_as == "udh16" else 8
    assert refs <= {(rank + 5 * 0x101) % (1 << bits)}


def test_payloads_of_up_to_100_parts_leave_whole_and_the_arena_turns_round_many_times():
    coding, rank, octets = Coding(long_as="payload"), 0, 0
    text = "".join(chr(ord("a") + n % 26) for n in range(15_300))
    with Line(window=1_000, ring=1_024) as line:  # 256 kB of arena
        while octets < 4_000_000:
            for _ in range(12):
                mine = text[: 161 + 379 * (rank * 7 % 40)]
                batch = render_singles([(mine, NUMBER + rank, rank, 0)], 0, encoder(coding))
                assert line.book.room(BULK) > 0
                line.book.claim(BULK, line.run, batch.rows, batch.count, batch.octets)
                rank, octets = rank + 1, octets + len(mine)
            line.commit()
            while submits := line.submits():
                for submit in submits:
                    number = submit.to - NUMBER
                    assert submit.octets == text[: 161 + 379 * (number * 7 % 40)].encode()
                    line.answer(submit, message_id=f"{number:x}")
                line.pump.push()
            assert line.pump.in_flight == 0
        line.commit()
        assert line.book.accepted == rank


def test_a_claim_whose_payloads_have_no_room_is_refused_whole():
    coding = Coding(long_as="payload")
    with Line(ring=64) as line:  # 16 kB of arena
        batch = render_singles([("x" * 9_000, NUMBER, n, n) for n in range(2)], 0, encoder(coding))
        try:
            line.book.claim(BULK, line.run, batch.rows, batch.count, batch.octets)
        except ValueError as exc:
            assert "without room" in str(exc)
        else:
            raise AssertionError("claimed")
        assert line.book.open_parts == 0
