"""Stored routes before the file's, refusals that name field, value and rule; ported numbers loaded; explanations."""

from __future__ import annotations

import random
from array import array
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Endpoint, Route
from dispatcher.control.commands import DeleteRoute, Envelope, PutRoute, TurnPorted, UndoPorted
from dispatcher.errors import CommandRefused
from dispatcher.records.states import Purpose
from dispatcher.routes._ported import PortedLines
from dispatcher.routes.explain import explain, router_of
from dispatcher.routes.ported import (
    Wrong,
    drop_old,
    get_ported,
    network_of,
    ported_values,
    read_ported,
    write_all,
    wrong_lines,
)
from dispatcher.routes.router import Context, Router, is_open
from dispatcher.routes.stored import delete_route, put_route, routes_in_force, turn_ported, undo_ported
from dispatcher.store import Store, open_store
from dispatcher.store.endpoints import number_endpoints
from tests.reference import routes as reference

ENDS = [Endpoint(name=name, host="h", system_id="s") for name in ("main", "spare")]


@pytest.fixture
def store(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True, sync=False) as made:
        with made.begin_write() as view:
            view.apply(number_endpoints(view, ["main", "spare"]))
        yield made


def do(store: Store, handler, command, tenant: int = 0):
    with store.begin_write() as view:
        changes, reply = handler(view, command, Envelope(tenant=tenant, actor="t", at_ms=1))
        view.apply(changes)
    return reply


def test_a_stored_route_stands_before_the_files_of_its_name_until_it_is_deleted(store):
    of_file = [Route(name="cn", endpoints=("main",)), Route(name="de", endpoints=("main",))]
    do(store, put_route, PutRoute(title="cn", values={"endpoints": ["spare"], "prefixes": ["86"]}))
    do(store, put_route, PutRoute(title="cn", values={"enabled": False}))
    with store.snapshot() as view:
        cn, de = routes_in_force(view, of_file)
        assert (cn.source, cn.route.endpoints, cn.route.prefixes, cn.route.enabled) == (
            "store",
            ("spare",),
            ("86",),
            False,
        )
        assert de.source == "file"
    do(store, delete_route, DeleteRoute(title="cn"))
    with store.snapshot() as view:
        assert [one.source for one in routes_in_force(view, of_file)] == ["file", "file"]


@pytest.mark.parametrize(
    ("values", "pointer", "words"),
    [
        ({"endpoints": ["mian"]}, "/endpoints", "did you mean 'main'"),
        ({"endpoints": ["main"], "prefixes": ["+86"]}, "/prefixes", "1 to 15 digits"),
        ({"endpoints": ["main=0"]}, "/endpoints", "weight of 1 to"),
        ({"endpoints": ["main"], "prefix": ["86"]}, "/prefix", "did you mean 'prefixes'"),
        ({"endpoints": ["main"], "hours": "8-20"}, "/hours", "08:00-20:00"),
        ({"endpoints": ["main"], "zone": "Asia/Shangai"}, "/zone", "did you mean 'Asia/Shanghai'"),
        ({"endpoints": ["main"], "purposes": ["marketting"]}, "/purposes", "did you mean 'marketing'"),
        ({"endpoints": "main"}, "/endpoints", "a list of texts"),
        ({}, "/endpoints", "is missing"),
    ],
)
def test_a_wrong_route_is_refused_with_field_value_and_rule(store, values, pointer, words):
    with pytest.raises(CommandRefused) as refused:
        do(store, put_route, PutRoute(title="x", values=values))
    assert refused.value.status == 422 and refused.value.errors[0]["pointer"] == pointer
    assert words in refused.value.detail


def test_only_the_operator_makes_routes(store):
    with pytest.raises(CommandRefused) as refused:
        do(store, put_route, PutRoute(title="x", values={"endpoints": ["main"]}), tenant=1)
    assert refused.value.status == 403


def loaded(store: Store, lines: bytes, *, at_once: int = 1 << 20) -> list[Wrong]:
    read = read_ported(lines[at : at + at_once] for at in range(0, len(lines), at_once))
    write_all(store, read.entries)
    told = {"lines": read.lines, "rejected": read.rejected, "wrong": [list(astuple(one)) for one in read.wrong]}
    do(store, turn_ported, TurnPorted(count=read.count, networks=read.networks, file="f", spool="", **told))
    more = True
    while more:
        with store.begin_write() as view:
            changes = drop_old(view)
            view.apply(changes)
            more = bool(changes.rows)
    return read.wrong


def test_ported_numbers_are_found_and_a_new_load_takes_their_place(store):
    draw = random.Random(3)
    of = {draw.randrange(10**11, 10**13): draw.choice(["cmcc", "ctcc", "cucc"]) for _ in range(200_000)}
    text = b"number;network\n" + b"".join(b'"+%d";%s\r\n' % (n, code.encode()) for n, code in of.items())
    assert loaded(store, text, at_once=77_777) == []
    with store.snapshot() as view:
        ported = get_ported(view)
        assert ported.count == len(of) and len(ported_values(view, ported.generation)) == 4
        for number in [*draw.sample(list(of), 300), *range(10**12, 10**12 + 50)]:
            assert network_of(view, ported.generation, ported.networks, number) == of.get(number)
    wrong = loaded(store, b"8613800000000,ctcc\nnonsense\n12,x\n8613800000000,\n")
    number = "7 to 15 digits with the country's, not beginning with 0"
    assert [str(one) for one in wrong] == [
        f"line 2: number 'nonsense': {number}",
        f"line 3: number '12': {number}",
        "line 4: network '': number,network: the network's code is missing",
    ]
    with store.snapshot() as view:
        ported = get_ported(view)
        assert (ported.count, ported.networks, ported.lines, ported.rejected) == (1, ("ctcc",), 4, 3)
        assert wrong_lines(view) == wrong
        assert len(ported_values(view, ported.generation)) == 1 and view.count("ported") == 5


def test_the_last_of_several_lines_of_a_number_counts(store):
    loaded(store, b"8613800000000,a\n8613800000001,b\n8613800000000,b\n8613800000001,a\n")
    with store.snapshot() as view:
        ported = get_ported(view)
        found = [network_of(view, ported.generation, ported.networks, 8613800000000 + n) for n in range(2)]
    assert (ported.count, found) == (2, ["b", "a"])


def test_undo_turns_to_the_table_before_and_again_to_the_one_that_was_loaded(store):
    with pytest.raises(CommandRefused, match="nothing_to_undo"):
        do(store, undo_ported, UndoPorted())
    loaded(store, b"8613800000000,a\n")
    loaded(store, b"8613800000000,b\n8613800000001,b\nwrong\n")

    def network():
        with store.snapshot() as view:
            ported = get_ported(view)
            return network_of(view, ported.generation, ported.networks, 8613800000000), len(wrong_lines(view))

    assert network() == ("b", 1)
    assert do(store, undo_ported, UndoPorted())["count"] == 1
    assert network() == ("a", 0)
    assert do(store, undo_ported, UndoPorted())["rejected"] == 1
    assert network() == ("b", 1)
    do(store, undo_ported, UndoPorted())
    loaded(store, b"8613800000000,c\n")
    assert network() == ("c", 0)
    assert do(store, undo_ported, UndoPorted())["count"] == 1
    assert network() == ("a", 0), "what was undone is no step of the way back"
    with store.snapshot() as view:
        assert view.count("ported") == 2, "of older tables nothing is left"


def test_a_table_that_is_not_written_whole_is_not_turned_to(store):
    loaded(store, b"8613800000000,a\n")
    with pytest.raises(CommandRefused, match="0 of 2"):
        do(store, turn_ported, TurnPorted(count=2, networks=["b"], file="f", spool=""))
    with store.snapshot() as view:
        assert get_ported(view).networks == ("a",)


LINES = st.lists(
    st.one_of(
        st.builds("{},{}".format, st.integers(10**6, 10**15), st.sampled_from(["a", "bb", "c" * 16])),
        st.builds("{}{};{}\r".format, st.sampled_from(["+", '"', " ", "00", "x", "+ +"]), st.integers(1, 10**16), st.just("a")),
        st.sampled_from(["", "\r", ",", "number,network", "8613800000000", "8613800000000,", '"8613800000000","a b",more']),
        st.text(st.sampled_from('0123456789,;\t" +\rab'), max_size=24),
    ),
    max_size=40,
)  # fmt: skip


@given(lines=LINES, at_once=st.integers(1, 64), ends=st.booleans())
def test_compiled_and_reference_read_the_same_lines(lines, at_once, ends):
    text = "\n".join(lines).encode() + b"\n" * ends
    reader = PortedLines(10)
    for at in range(0, len(text), at_once):
        reader.feed(text[at : at + at_once])
    entries = array("Q", bytes(reader.finish()))
    of, networks, wrong, count = reference.ported_lines(text)
    assert {entry >> 14: reader.networks[entry & 0x3FFF] for entry in entries} == of
    assert list(entries) == sorted(entries) and reader.networks == networks
    assert (reader.wrong, reader.rejected, reader.lines) == (wrong[:10], len(wrong), count)


def test_an_explanation_says_what_decided(store):
    loaded(store, b"8613800000000,ctcc\n")
    of_file = [
        Route(name="cn", endpoints=("main",), prefixes=("86",), failover=("spare",)),
        Route(name="ctcc", endpoints=("spare",), networks=("ctcc",)),
        Route(name="codes", endpoints=("main",), purposes=("otp",)),
    ]
    context = Context(Purpose.MARKETING, 1, "SHOP")
    with store.snapshot() as view:
        router, names = router_of(view, ENDS, of_file, {"main": True, "spare": True})
        ported = explain(view, router, names, 8613800000000, context, 0)
        assert (ported["endpoint"], ported["route"], ported["by"], ported["network"]) == (
            "spare",
            "ctcc",
            "network",
            "ctcc",
        )
        other = explain(view, router, names, 8613900000000, context, 0)
        assert (other["endpoint"], other["route"], other["prefix"]) == ("main", "cn", "86")
        assert {one["route"]: one["why"] for one in other["routes"]}["codes"] == "for otp only"
        nobody = explain(view, router, names, 4915100000000, context, 0)
        assert (nobody["endpoint"], nobody["reason"]) == (None, "no_route")
        router, names = router_of(view, ENDS, of_file, {"main": False, "spare": True})
        down = explain(view, router, names, 8613900000000, context, 0)
        assert down["endpoint"] == "spare" and "failover" in down["why"]


@pytest.mark.parametrize(
    ("hours", "days", "hour", "holds"),
    [
        ("08:00-20:00", (), 8, True), ("08:00-20:00", (), 20, False), ("22:00-06:00", (), 23, True),
        ("22:00-06:00", (), 5, True), ("22:00-06:00", (), 6, False), ("", ("thu",), 3, True), ("", ("fri",), 3, False),
        ("22:00-06:00", ("wed",), 5, True), ("22:00-06:00", ("thu",), 5, False),
    ],
)  # fmt: skip
def test_a_window_is_of_the_routes_zone_and_its_day_is_that_of_its_beginning(hours, days, hour, holds):
    route = Route(name="r", endpoints=("main",), hours=hours, days=days, zone="UTC")
    assert is_open(route, hour * 3_600_000) is holds  # 1970-01-01 was a Thursday


def test_a_plan_is_the_same_object_until_something_turns():
    router = Router({"main": (0, 1), "spare": (1, 1)})
    context = Context(Purpose.OTP, 1, "")
    plan, turn = router.plan(context, 0), router.turn
    assert (
        router.plan(context, 10 * 60_000) is plan
        and not router.look({0: 0.0, 1: 5.0})
        and router.plan(context, 0) is plan
    )
    assert router.look({0: 0.0, 1: 11.0}) and router.turn > turn and router.plan(context, 0).only == 0
