"""A start by everybody's own clock, over the simulator, with a clock that is given: each zone's messages leave after its
own hour and not before, nobody's on a holiday there, and a number of unknown place when it is open everywhere."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import holidays
import pytest

from bench.faulty_libc import Faults, faulty_libc
from dispatcher.control import commands as c
from dispatcher.records.keys import parse_public_id
from tests.daemon.test_single_messages import STRANGER
from tests.fakes.house import SENDER, House, in_house

SHANGHAI, PARIS, NEW_YORK, SATELLITE = 8613800000001, 33612345678, 12125551234, 870773111632
PROFILE = """
zones = ["Asia/Shanghai", "Pacific/Honolulu"]      # of the satellite telephone
[quiet]
purposes = ["marketing"]
holidays = "FR"
[[quiet.hours]]
days = ["mo", "tu", "we", "th", "fr", "sa", "su"]
from = "08:00"
to = "21:00"
"""


def eve_of_a_holiday() -> date:
    """A day before a French holiday with ordinary days around both, a week from now or more."""
    day, french = date.today() + timedelta(days=7), holidays.country_holidays("FR")
    while not (day + timedelta(days=1) in french and not any(day + timedelta(days=n) in french for n in (0, 2, 3, 4))):
        day += timedelta(days=1)
    return day


def at(day: date, hour: int, zone: str, minute: int = 0) -> float:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp()


class Hour:
    """The daemon's wall clock."""

    def __init__(self, house: House, faults: Faults) -> None:
        self.house, self.faults, self.beats = house, faults, 0

    async def is_(self, at_s: float) -> set[int]:
        """Set it, and see who has had a message once the daemon has gone round: a question of now is answered."""
        self.faults.shift_clock(round(at_s - time.time()))
        self.beats += 1
        self.house.smsc.inject_mo(str(STRANGER + self.beats), SENDER, "POINTS")
        await self.house.until(lambda: bool(self.house.lines(STRANGER + self.beats)))
        return {int(line.destination) for line in self.house.lines()} & {SHANGHAI, PARIS, NEW_YORK, SATELLITE}

    async def brings(self, at_s: float, number: int) -> None:
        """Not a minute before it does this number get its message, and then it does."""
        assert number not in await self.is_(at_s - 60)
        await self.is_(at_s + 2)
        await self.house.until(lambda: bool(self.house.lines(number)))


@in_house(0, process=True, started=False)
async def test_each_zone_gets_it_at_its_own_hour_and_an_unknown_place_when_all_are_open(house: House):
    with pytest.MonkeyPatch.context() as patch, faulty_libc(house.log.parent) as faults:
        patch.setenv("VOLLEY_PROFILES", str(house.settings.data))
        (house.settings.data / "world.toml").write_text(PROFILE)
        await house.start()
        await house.do(c.EditTenant(changes={"market_profile": "world"}))
        house.numbers = [SHANGHAI, PARIS, NEW_YORK, SATELLITE]
        for number in house.numbers:
            await house.do(c.UpsertMember(msisdn=f"+{number}", values={"name": "Ann"}))
        day, clock = eve_of_a_holiday(), Hour(house, faults)
        schedule = {"zone": "recipient", "at": f"{day}T09:00"}
        made = await house.do(c.CreateCampaign(title="Sale", text="Hello", schedule=schedule))
        campaign = parse_public_id("cmp", made["id"])
        assert campaign is not None
        token = (await house.do(c.PreviewCampaign(campaign=campaign)))["token"]
        await house.do(c.StartCampaign(campaign=campaign, token=token))
        await clock.is_(at(day, 9, "Pacific/Kiritimati") + 2)
        await house.do(c.ReleaseAll())  # looks at the clock; else it may take half a minute
        await house.until(lambda: house.state(campaign) == "running")
        await clock.brings(at(day, 9, "Asia/Shanghai"), SHANGHAI)
        await clock.brings(at(day, 9, "Europe/Paris"), PARIS)
        await clock.brings(at(day, 9, "America/New_York"), NEW_YORK)
        three = {SHANGHAI, PARIS, NEW_YORK}
        later = [day + timedelta(days=n) for n in range(1, 4)]
        assert await clock.is_(at(later[0], 9, "Asia/Shanghai")) == three, "14:00 in Honolulu, a holiday in Shanghai"
        assert await clock.is_(at(later[1], 9, "Asia/Shanghai")) == three, "a holiday in Honolulu"
        assert await clock.is_(at(later[1], 9, "Pacific/Honolulu")) == three, "night in Shanghai"
        await clock.brings(at(later[2], 8, "Asia/Shanghai"), SATELLITE)
        await house.settled(campaign)
        assert [len(house.lines(number)) for number in house.numbers] == [1, 1, 1, 1]
        await house.stop()
