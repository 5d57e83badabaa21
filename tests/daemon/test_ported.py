"""Ported numbers through the dispatcher: a load and its undo turn where messages go, at once, by the simulator's log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config import Route
from dispatcher.control import commands as c
from dispatcher.errors import CommandRefused
from dispatcher.routes.ported import get_ported, read_ported
from tests.fakes.house import House, in_house

ROUTES = (Route(name="ported", endpoints=("smsc",), networks=("here",)),)


async def load(house: House, *networks: str) -> None:
    """The house's numbers, ported to `networks` in turn."""
    lines = "".join(f"{number},{networks[no % len(networks)]}\n" for no, number in enumerate(house.numbers))
    read = read_ported([lines.encode()])
    (house.settings.data / "ported.spool").write_bytes(read.entries)
    await house.do(
        c.TurnPorted(count=read.count, networks=read.networks, file="f", spool="ported.spool", lines=read.lines),
        tenant=0,
    )


@in_house(20, started=False)
async def test_a_load_decides_where_the_next_message_goes_and_undo_takes_it_back(house: House):
    house.settings = replace(house.settings, routes=ROUTES)
    await house.start()
    await load(house, "elsewhere")
    with pytest.raises(CommandRefused, match="no_such_file"):
        await house.do(c.TurnPorted(count=1, networks=["x"], file="f", spool="nothing"), tenant=0)
    await load(house, "here", "elsewhere")
    one = await house.send("one")
    await house.until(lambda: house.state(one) == "done")
    assert {int(line.destination) for line in house.lines()} == set(house.numbers[::2])
    await house.do(c.UndoPorted(), tenant=0)
    with pytest.raises(CommandRefused, match="no_recipients"):
        await house.send("two")
    await load(house, "here")
    three = await house.send("three")
    await house.until(lambda: house.state(three) == "done")
    assert len(house.lines()) == 30

    def generations() -> int:
        assert house.store is not None
        with house.store.snapshot() as view:
            assert get_ported(view).networks == ("here",)
            return view.count("ported")

    await house.until(lambda: generations() == 2)
