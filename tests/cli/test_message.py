"""volley message, with no dispatcher running: sent under the writer's lock, kept for the one that will."""

from __future__ import annotations

import pytest

from dispatcher.records.batches import message_batch
from dispatcher.records.states import Purpose
from dispatcher.smpp.pump import Kind
from dispatcher.store import open_store
from dispatcher.store.endpoints import number_endpoints
from tests.store.logs import Claim, Record, append, fold_all, value_of

NUMBER = "+491701234560"


@pytest.fixture
def shop(volley, data):
    assert volley("tenant", "create", "Shop", "--region", "DE", "--data", data).status == 0
    return data


def test_sent_shown_and_listed(volley, shop):
    made = volley("message", "send", "0170 1234560", "Your code is 4711", "--purpose", "otp", "--data", shop)
    assert made.status == 0, made.err
    assert made.out.strip().endswith("accepted, 1 part")
    id_ = made.out.split()[0]
    shown = volley("message", "show", id_, "--json", "--data", shop).json
    assert (shown["to"], shown["text"], shown["state"], shown["decision"]) == (
        NUMBER,
        "Your code is 4711",
        "unsent",
        "sent",
    )
    assert [row["id"] for row in volley("message", "list", "--json", "--data", shop).rows] == [id_]


def test_one_is_found_by_the_id_that_the_smsc_gave_it(volley, shop):
    made = volley("message", "send", NUMBER, "Your code is 4711", "--purpose", "otp", "--json", "--data", shop).json
    batch = message_batch(1, Purpose.OTP)
    with open_store(shop, write=True) as store:
        with store.begin_write() as view:
            view.apply(number_endpoints(view, ["main"]))
        append(store, value_of([Claim(batch, 0, (1,)), Record(batch, Kind.ACCEPTED, 0, message_id=b"4A3F")]))
        fold_all(store)
    (found,) = volley("message", "find", "4a3f", "--json", "--data", shop).rows
    assert (found["id"], found["endpoint"], found["part"], found["state"]) == (made["id"], "main", 1, "accepted")
    assert made["id"] in volley("message", "find", "04A3F", "--data", shop).out
    assert volley("message", "find", "4a3e", "--data", shop).status == 1


def test_a_template_is_filled_from_vars(volley, shop):
    argv = ("--var", "name=Anna", "--ref", "r1", "--json", "--data", shop)
    made = volley("message", "send", NUMBER, "Hi {name}, {gift|a gift}", *argv).json
    assert made["ref"] == "r1"
    assert volley("message", "show", made["id"], "--json", "--data", shop).json["text"] == "Hi Anna, a gift"


def test_options_and_billed_parts_are_kept_and_shown(volley, shop):
    argv = ("--flash", "--priority", "2", "--transliterate", "--json", "--data", shop)
    made = volley("message", "send", NUMBER, "It’s " + "x" * 100, *argv).json
    assert (made["parts"], made["billed"]) == (1, 1)
    shown = volley("message", "show", made["id"], "--json", "--data", shop).json
    assert shown["options"] == {"class": 0, "priority": 2, "transliterate": True} and shown["billed"] == 1
    assert volley("message", "send", NUMBER, "It’s " + "x" * 100, "--json", "--data", shop).json["parts"] == 2


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (("send", "12", "hi"), "to '12'"),
        (("send", NUMBER, "hi {x}", "--var", "y=1"), "no field 'x'"),
        (("send", NUMBER, "hi", "--var", "y"), "NAME=VALUE"),
        (("send", NUMBER, ""), "1 to"),
        (("send", NUMBER, "hi", "--priority", "4"), "priority 4: 0 to 3"),
        (("send", NUMBER, "hi", "--deliver-at", "soon"), "a time as 2026"),
        (("show", "msg_0000000000000"), "there is no message"),
    ],
)
def test_what_is_wrong_is_said(volley, shop, argv, word):
    said = volley("message", *argv, "--data", shop)
    assert said.status != 0 and word in said.err
