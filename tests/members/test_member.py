"""One member: made, changed, moved to another number, erased; the same before and after a fold."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dispatcher.control.commands import EraseMember, UpsertMember
from dispatcher.errors import CommandRefused
from dispatcher.members.erase import erase_member
from dispatcher.members.fields import fields_of
from dispatcher.members.member import list_members, live_members, member_json, upsert_member
from dispatcher.records.changes import Changes
from dispatcher.records.keys import public_member_id
from dispatcher.store import Store, open_store
from dispatcher.store.columns import find_number, fold_some, number_slot
from dispatcher.store.layout import MEMBER_NO, TENANT_U64
from dispatcher.tenants.tenant import get_tenant
from tests.fakes.shop import do, new_member, new_shop, refused

NUMBER, OTHER = 4915100000001, 4915100000002
FULL = {
    "name": "Ada",
    "tier": "gold",
    "city": "Berlin",
    "visits": 7,
    "serial": -(1 << 40),
    "joined": "1969-12-31",
    "birthday": "02-29",
    "vip": False,
    "spend": 12_500_000,
    "tags": ["hotpot", "seafood"],
}
EMPTY = {**dict.fromkeys(FULL), "tags": []}


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    return store


def shown(store: Store, member_no: int) -> dict[str, Any] | None:
    with store.snapshot() as view:
        return member_json(view, 1, member_no)


def test_a_member_is_made_by_its_number_and_read_back(shop: Store):
    reply = do(shop, upsert_member, UpsertMember(msisdn="0151 00000001", values=FULL))
    assert reply == {"id": public_member_id(0), "member_no": 0, "created": True}
    assert shown(shop, 0) == {
        "id": public_member_id(0),
        "msisdn": f"+{NUMBER}",
        "points": 0,
        "values": FULL,
        "suppressed": False,
        "opted_out": [],
    }
    with shop.snapshot() as view:
        assert find_number(view, 1, NUMBER) == 0
        tenant = get_tenant(view, 1)
        assert tenant is not None and tenant.next_member_no == 1


def test_a_known_number_updates_what_is_named_and_null_clears(shop: Store):
    new_member(shop, NUMBER, **FULL)
    command = UpsertMember(msisdn=f"+{NUMBER}", values={"visits": 8, "city": None, "tags": ["new"]})
    assert not do(shop, upsert_member, command)["created"]
    member = shown(shop, 0)
    assert member is not None and member["values"] == {**FULL, "visits": 8, "city": None, "tags": ["new"]}


def test_a_new_word_of_an_open_dictionary_is_kept_and_a_closed_one_refuses(shop: Store):
    new_member(shop, NUMBER, city="Bonn")
    new_member(shop, OTHER, city="Köln")
    with shop.snapshot() as view:
        assert fields_of(view, 1)["city"].values == ("Bonn", "Köln")
    error = refused(shop, upsert_member, UpsertMember(msisdn=f"+{NUMBER}", values={"tier": "iron"}))
    assert (error.status, error.errors[0]["code"]) == (422, "not_in_dictionary")


def test_every_wrong_value_is_listed_and_nothing_is_written(shop: Store):
    values = {"visits": "7", "tier": "iron", "city": "Ulm", "points": 5}
    error = refused(shop, upsert_member, UpsertMember(msisdn="12", values=values))
    assert error.status == 422
    assert [each["pointer"] for each in error.errors] == [
        *("/msisdn", "/values/visits", "/values/tier", "/values/points"),
    ]
    assert shown(shop, 0) is None
    with shop.snapshot() as view:
        assert fields_of(view, 1)["city"].values == ()


def test_an_unknown_field_names_its_nearest(shop: Store):
    error = refused(shop, upsert_member, UpsertMember(msisdn=f"+{NUMBER}", values={"citty": "Ulm"}))
    assert (error.status, error.code, error.extra["did_you_mean"]) == (422, "unknown_field", "city")


@pytest.mark.parametrize("name", ["points", "phone"])
def test_system_fields_are_not_edited(shop: Store, name: str):
    error = refused(shop, upsert_member, UpsertMember(msisdn=f"+{NUMBER}", values={name: 5}))
    assert error.errors[0]["code"] == "not_editable"


def test_a_change_of_number_moves_the_phones_row(shop: Store):
    member_no = new_member(shop, NUMBER)
    do(shop, upsert_member, UpsertMember(member_no=member_no, msisdn=f"+{OTHER}", values={"visits": 1}))
    with shop.snapshot() as view:
        assert (number_slot(view, 1, NUMBER), find_number(view, 1, OTHER)) == (None, member_no)
    assert new_member(shop, NUMBER) == 1
    error = refused(shop, upsert_member, UpsertMember(member_no=member_no, msisdn=f"+{NUMBER}"))
    assert (error.status, error.code) == (409, "duplicate_number")
    same = do(shop, upsert_member, UpsertMember(member_no=member_no, msisdn=f"+{OTHER}"))
    assert not same["created"]


def test_a_duplicate_is_refused_where_the_member_must_be_new(shop: Store):
    new_member(shop, NUMBER)
    error = refused(shop, upsert_member, UpsertMember(msisdn=f"+{NUMBER}", must_be_new=True))
    assert (error.status, error.code, error.extra["member"]) == (409, "duplicate_number", public_member_id(0))


def test_whom_an_update_does_not_find_is_not_made(shop: Store):
    assert refused(shop, upsert_member, UpsertMember(msisdn=f"+{NUMBER}", create=False)).status == 404
    assert refused(shop, upsert_member, UpsertMember(member_no=0, values={})).status == 404
    assert refused(shop, upsert_member, UpsertMember(member_no=1 << 40, values={})).status == 404
    assert refused(shop, upsert_member, UpsertMember(values={"visits": 1})).errors[0]["pointer"] == "/msisdn"
    assert refused(shop, upsert_member, UpsertMember(msisdn=f"+{NUMBER}"), tenant=9).status == 404


def test_a_number_reserved_by_a_running_import_asks_to_wait(shop: Store):
    member_no = new_member(shop, OTHER)
    changes = Changes()
    changes.put("phones", TENANT_U64.pack(1, NUMBER), MEMBER_NO.pack(77))
    shop.apply(changes)
    for command in (
        UpsertMember(msisdn=f"+{NUMBER}"),
        UpsertMember(msisdn=f"+{NUMBER}", must_be_new=True),
        UpsertMember(member_no=member_no, msisdn=f"+{NUMBER}"),
    ):
        error = refused(shop, upsert_member, command)
        assert (error.status, error.code) == (409, "state_conflict") and "being imported" in error.detail
    assert refused(shop, upsert_member, UpsertMember(msisdn=f"+{NUMBER}", create=False)).status == 404


def test_an_erased_slot_is_empty_for_ever(shop: Store):
    member_no = new_member(shop, NUMBER, **FULL)
    do(shop, erase_member, EraseMember(member_no=member_no))
    assert shown(shop, member_no) is None
    assert refused(shop, erase_member, EraseMember(member_no=member_no)).status == 404
    again = new_member(shop, NUMBER)
    assert again == member_no + 1
    member = shown(shop, again)
    assert member is not None and member["values"] == EMPTY


def test_tenants_do_not_see_each_others_members(shop: Store):
    new_shop(shop, "Second")
    new_member(shop, NUMBER, tenant=1)
    with shop.snapshot() as view:
        assert find_number(view, 2, NUMBER) is None and member_json(view, 2, 0) is None
    assert new_member(shop, NUMBER, tenant=2) == 0


def test_the_list_goes_page_by_page_over_gaps(shop: Store):
    for i in range(7):
        new_member(shop, NUMBER + i)
    for gone in (0, 3, 6):
        do(shop, erase_member, EraseMember(member_no=gone))
    seen: list[str] = []
    after: int | None = -1
    while after is not None:
        with shop.snapshot() as view:
            page, after = list_members(view, 1, after, 2)
        assert len(page) <= 2
        seen += [member["id"] for member in page]
    assert seen == [public_member_id(no) for no in (1, 2, 4, 5)]


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["Ada", "Bo", None]),
        "tier": st.sampled_from(["basic", "gold", None]),
        "city": st.sampled_from(["Bonn", "Köln", "Ulm", None]),
        "visits": st.integers(-5, 5) | st.none(),
        "vip": st.booleans() | st.none(),
        "tags": st.lists(st.sampled_from([f"t{i}" for i in range(11)]), unique=True),
    },
)
NUMBERS = st.integers(NUMBER, NUMBER + 4)


class Members(RuleBasedStateMachine):
    """Upserts, moves, erases and folds in any order against a dictionary by member_no."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(self.folder.name, write=True, create=True, sync=False)
        new_shop(self.store)
        self.model: dict[int, tuple[int, dict[str, Any]]] = {}
        self.made = 0

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def holder(self, number: int) -> int | None:
        return next((no for no, (held, _) in self.model.items() if held == number), None)

    @rule(number=NUMBERS, values=VALUES)
    def upsert(self, number: int, values: dict[str, Any]) -> None:
        reply = do(self.store, upsert_member, UpsertMember(msisdn=f"+{number}", values=values))
        member_no = self.holder(number)
        assert reply["created"] == (member_no is None)
        if member_no is None:
            member_no, self.made = self.made, self.made + 1
            self.model[member_no] = (number, dict(EMPTY))
        assert reply["member_no"] == member_no
        self.model[member_no][1].update(values)

    @rule(number=NUMBERS, other=NUMBERS)
    def move(self, number: int, other: int) -> None:
        member_no = self.holder(number)
        if member_no is None:
            return
        command = UpsertMember(member_no=member_no, msisdn=f"+{other}")
        if self.holder(other) in (None, member_no):
            do(self.store, upsert_member, command)
            self.model[member_no] = (other, self.model[member_no][1])
        else:
            with pytest.raises(CommandRefused):
                do(self.store, upsert_member, command)

    @rule(number=NUMBERS)
    def erase(self, number: int) -> None:
        member_no = self.holder(number)
        if member_no is not None:
            do(self.store, erase_member, EraseMember(member_no=member_no))
            del self.model[member_no]

    @rule(limit=st.sampled_from([1, 4 << 20]))
    def fold(self, limit: int) -> None:
        with self.store.begin_write() as view:
            view.apply(fold_some(view, 1, limit))

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        with self.store.snapshot() as view:
            assert list(live_members(view, 1)) == sorted(self.model)
            for member_no, (number, values) in self.model.items():
                member = member_json(view, 1, member_no)
                assert member is not None and member["msisdn"] == f"+{number}"
                found = {**member["values"], "tags": sorted(member["values"]["tags"])}
                assert found == {**values, "tags": sorted(values["tags"])}
                assert find_number(view, 1, number) == member_no
            for number in range(NUMBER, NUMBER + 5):
                assert number_slot(view, 1, number) == self.holder(number)


TestMembers = Members.TestCase
TestMembers.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
