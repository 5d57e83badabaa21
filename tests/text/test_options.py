"""Options of a campaign or message: what is kept of what was asked for, what is refused and why, and the octets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpplib import smpp as judge

from dispatcher.errors import CommandRefused
from dispatcher.smpp.pump import submit_mid
from dispatcher.text.options import RULES, Options, checked, smpp_time

NOW_MS = 1_795_392_000_000  # 2026-11-23T00:00:00Z


def test_what_is_as_usual_is_not_kept_and_times_are_kept_in_utc():
    assert checked(None, NOW_MS) == {}
    usual = {"flash": False, "priority": 0, "replace_type": 0, "transliterate": False, "class": None, "valid_until": ""}
    assert checked(usual, NOW_MS) == {}
    asked = {"flash": True, "priority": 3, "registered_delivery": "failure", "valid_until": "2026-11-24T09:30:00+08:00"}
    kept = checked(asked, NOW_MS)
    assert kept == {
        "class": 0, "priority": 3, "registered_delivery": "failure", "valid_until": "2026-11-24T01:30:00Z",
    }  # fmt: skip
    assert checked(kept, NOW_MS) == kept


@pytest.mark.parametrize(
    ("asked", "pointer", "says"),
    [
        ({"class": 4}, "/options/class", "0 (flash) to 3"),
        ({"class": True}, "/options/class", "0 (flash) to 3"),
        ({"flash": 1}, "/options/flash", "true or false"),
        ({"flash": True, "class": 2}, "/options/flash", "class 2"),
        ({"replace_type": 8}, "/options/replace_type", "1 to 7"),
        ({"priority": -1}, "/options/priority", "0 to 3"),
        ({"priority": "2"}, "/options/priority", "0 to 3"),
        ({"registered_delivery": "some"}, "/options/registered_delivery", "none, all or failure"),
        ({"registered_delivery": ["all"]}, "/options/registered_delivery", "none, all or failure"),
        ({"valid_until": "tomorrow"}, "/options/valid_until", "2026-12-01T09:00:00Z"),
        ({"valid_until": "2026-11-24T09:00:00"}, "/options/valid_until", "a time as"),
        ({"valid_until": "2026-11-22T09:00:00Z"}, "/options/valid_until", "between now"),
        ({"deliver_at": "2027-11-22T09:00:00Z"}, "/options/deliver_at", "63 days"),
        (
            {"deliver_at": "2026-11-25T09:00:00Z", "valid_until": "2026-11-24T09:00:00Z"},
            "/options/valid_until",
            "after deliver_at",
        ),
        ({"prioritty": 1}, "/options/prioritty", "no such option"),
        ("flash", "/options", "a table"),
    ],
)
def test_what_is_wrong_is_refused_by_key_value_and_rule(asked, pointer, says):
    with pytest.raises(CommandRefused) as refused:
        checked(asked, NOW_MS)
    assert (refused.value.status, refused.value.code) == (422, "invalid_option")
    assert refused.value.errors[0]["pointer"] == pointer and says in refused.value.detail


def test_an_option_spelt_wrong_is_named_with_the_right_one():
    with pytest.raises(CommandRefused) as refused:
        checked({"prioritty": 1, "flash": "x"}, NOW_MS)
    assert refused.value.extra["did_you_mean"] == "priority"
    assert [error["pointer"] for error in refused.value.errors] == ["/options/prioritty", "/options/flash"]


ANY = st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=30) | st.lists(st.integers(), max_size=2)


@given(asked=st.dictionaries(st.sampled_from([*RULES, "x"]), ANY) | ANY)
def test_whatever_is_asked_is_kept_or_refused(asked):
    try:
        kept = checked(asked, NOW_MS)
    except CommandRefused:
        return
    assert checked(kept, NOW_MS) == kept
    assert Options.of(kept).fields(True)["priority"] == kept.get("priority", 0)


class Sequence:
    sequence = 1

    def next_sequence(self):
        return 1


@given(
    options=st.builds(
        Options,
        replace_type=st.integers(0, 7),
        priority=st.integers(0, 3),
        registered=st.sampled_from(["", "none", "all", "failure"]),
        valid_until_ms=st.just(0) | st.integers(1, 1 << 41),
        deliver_at_ms=st.just(0) | st.integers(1, 1 << 41),
    ),
    receipts=st.booleans(),
    validity_s=st.integers(0, 63 * 86_400),
)
def test_smpplib_reads_every_option_from_the_octets(options, receipts, validity_s):
    mid = submit_mid(validity_s=validity_s, receipts=receipts, **options.fields(receipts))
    assert len(mid) <= 40  # what a run has room for
    body = b"\0\1\1S\0\1\x01491\0\0" + mid + b"\0\0\2hi"
    pdu = judge.parse_pdu(
        (16 + len(body)).to_bytes(4) + bytes((0, 0, 0, 4)) + bytes(7) + b"\1" + body, client=Sequence()
    )
    assert pdu.protocol_id == (0x40 | options.replace_type if options.replace_type else 0)
    assert pdu.priority_flag == options.priority
    wanted = {"": int(receipts), "none": 0, "all": 1, "failure": 2}[options.registered]
    assert pdu.registered_delivery == wanted and options.receipts(receipts) == bool(wanted)
    times = (pdu.schedule_delivery_time or b"").decode(), (pdu.validity_period or b"").decode()
    assert times[0] == (smpp_time(options.deliver_at_ms) if options.deliver_at_ms else "")
    if options.valid_until_ms:
        assert times[1] == smpp_time(options.valid_until_ms)
    else:
        assert times[1].endswith("R") if validity_s else times[1] == ""
    assert pdu.short_message == b"hi"


def test_an_absolute_time_is_in_utc():
    assert smpp_time(NOW_MS + 3_661_000) == "261123010101000+"
