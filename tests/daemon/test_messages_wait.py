"""Messages of the API that wait: for the quiet hours to end, for their time, over a restart, with a clock that is given;
what a plan's pace holds, and what it never holds. The simulator's log says who got what when."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bench.faulty_libc import faulty_libc
from dispatcher.control import commands as c
from tests.daemon.test_single_messages import STRANGER, sent, shown
from tests.fakes.house import FIRST_NUMBER, House, in_house

HOUR_S = 3_600
DAYS = ["mo", "tu", "we", "th", "fr", "sa", "su"]


def night(folder: Path, opens_in_h: int) -> None:
    """A market that is closed for marketing now and opens so many hours from now, for two hours."""
    opens = datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(hours=opens_in_h)
    closes = "24:00" if opens.hour >= 22 else f"{opens.hour + 2:02}:00"
    hours = f'days = ["{DAYS[opens.weekday()]}"]\nfrom = "{opens:%H}:00"\nto = "{closes}"\n'
    text = f'zones = ["Europe/Berlin"]\n[quiet]\npurposes = ["marketing"]\n[[quiet.hours]]\n{hours}'
    (folder / "night.toml").write_text(text)


@in_house(3, process=True, started=False)
async def test_marketing_of_the_night_leaves_in_the_morning_once_and_a_code_at_once(house: House):
    with pytest.MonkeyPatch.context() as patch, faulty_libc(house.log.parent) as faults:
        patch.setenv("VOLLEY_PROFILES", str(house.settings.data))
        night(house.settings.data, opens_in_h=6)
        await house.start()
        await house.do(c.EditTenant(changes={"market_profile": "night"}))
        later, gone, code = await sent(
            house, {"purpose": "marketing"}, {"purpose": "marketing"}, {"purpose": "otp"}
        )  # fmt: skip
        assert (later["decision"], code["decision"], later["due_at"] is not None) == ("waiting", "sent", True)
        await house.until(lambda: bool(house.lines(STRANGER + 2)))
        assert (await house.do(c.CancelMessage(message=gone["id"])))["state"] == "cancelled"
        await house.restart()
        (another,) = await sent(house, {"purpose": "otp", "to": f"+{STRANGER + 9}"})
        await house.until(lambda: bool(house.lines(STRANGER + 9)))
        assert another["decision"] == "sent" and house.lines(STRANGER) == [], "a restart wakes nobody"
        faults.shift_clock(6 * HOUR_S)
        await house.until(lambda: bool(house.lines(STRANGER)))
        await house.restart()
        assert len(house.lines(STRANGER)) == 1 and house.lines(STRANGER + 1) == []
        await house.stop()


@in_house(3)
async def test_a_plans_pace_never_holds_a_one_time_code(house: House):
    await house.do(c.EditTenant(changes={"rate": 1}))
    slow = await sent(house, *({"purpose": "service"} for _ in range(20)))
    codes = await sent(house, *({"purpose": "otp", "to": f"+{STRANGER + 100 + i}"} for i in range(40)))
    await house.until(lambda: all(shown(house, code)["state"] == "delivered" for code in codes))
    left = [line for line in house.lines() if int(line.destination) < STRANGER + 100]
    assert len(left) < len(slow), "the plan holds what is not asked for now"


@in_house(3)
async def test_a_campaign_and_the_api_never_pass_one_cap_together(house: House):
    await house.do(c.EditTenant(changes={"caps": [{"group": "marketing", "max": 1, "within_s": 86_400}]}))
    first = FIRST_NUMBER
    (before,) = await sent(house, {"purpose": "marketing", "to": f"+{first}"})
    campaign = await house.send()
    await house.settled(campaign)
    (after,) = await sent(house, {"purpose": "marketing", "to": f"+{first + 1}"})
    assert (before["decision"], after["decision"]) == ("sent", "frequency_cap")
    await house.until(lambda: shown(house, before)["state"] == "delivered")
    assert [len(house.lines(first + i)) for i in range(3)] == [1, 1, 1]
    assert house.counts(campaign)["skipped"] == {"frequency_cap": 1}
