"""Any PDU of the tables, as hypothesis draws it, and smpplib as the judge of octets."""

from hypothesis import strategies as st
from smpplib import smpp as judge

from dispatcher.smpp.consts import RESPONSE
from dispatcher.smpp.pdu import BODIES, DESTINATION_FIELDS, Destination, Field, Kind, Pdu, UnsuccessSme
from dispatcher.smpp.tags import TLVS, TlvKind

LATIN1 = st.characters(min_codepoint=1, max_codepoint=255)


def text(most: int) -> st.SearchStrategy[str]:
    return st.text(LATIN1, max_size=most - 1)


ADDRESS = {row.name: text(row.most) if row.kind is Kind.C_OCTETS else st.integers(0, 255) for row in DESTINATION_FIELDS}
DESTINATION = st.one_of(st.builds(Destination, **ADDRESS), st.builds(lambda name: Destination(dl_name=name), text(21)))
UNSUCCESS = st.builds(UnsuccessSme, **ADDRESS, error_status_code=st.integers(0, 2**32 - 1))
TIMES = st.just("") | st.from_regex(r"[0-9]{15}[-+R]", fullmatch=True)


def value_of(row: Field) -> st.SearchStrategy:
    return {
        Kind.C_OCTETS: text(row.most),
        Kind.TIME: TIMES,
        Kind.U8: st.integers(0, 255),
        Kind.SHORT: st.binary(max_size=row.most),
        Kind.DESTINATIONS: st.lists(DESTINATION, min_size=1, max_size=5).map(tuple),
        Kind.UNSUCCESS: st.lists(UNSUCCESS, max_size=5).map(tuple),
    }[row.kind]


@st.composite
def tlv(draw) -> tuple[int, bytes]:
    """One of the table, as it allows; or a vendor's."""
    if draw(st.booleans()):
        return draw(st.integers(0x1400, 0x3FFF)), draw(st.binary(max_size=40))
    row = TLVS[draw(st.sampled_from([tag for tag in TLVS if tag != 0x424]))]
    least, most = row.least, min(row.most, 80)
    if row.kind is TlvKind.C_OCTETS:
        return row.tag, draw(text(most)).encode("latin-1") + b"\0"
    return row.tag, draw(st.binary(min_size=least, max_size=most))


@st.composite
def pdus(draw, command_id: int | None = None) -> Pdu:
    """A PDU without flaws."""
    command_id = draw(st.sampled_from(sorted(BODIES))) if command_id is None else command_id
    return Pdu(
        command_id=command_id,
        command_status=draw(st.integers(0, 2**32 - 1)) if command_id & RESPONSE else 0,
        sequence_number=draw(st.integers(1, 0x7FFFFFFF)),
        fields={row.name: draw(value_of(row)) for row in BODIES[command_id]},
        tlvs=tuple(draw(st.lists(tlv(), max_size=4))),
    )


class Sequence:
    """What smpplib wants of a client."""

    sequence = 9

    def next_sequence(self) -> int:
        return self.sequence


def read_by_judge(pdu: bytes):
    return judge.parse_pdu(pdu, client=Sequence(), allow_unknown_opt_params=True)
