"""What a start finds, where no crash test can bring it about."""

from __future__ import annotations

from pathlib import Path

from dispatcher.daemon.recovery import still_open
from dispatcher.records.states import State
from dispatcher.store import ledger, open_store
from tests.campaigns.log import RELEASED, RETRY, UNCERTAIN, claim, log, record

CAMPAIGN = 7


def test_a_member_that_the_fold_did_not_release_is_counted(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        log(store, CAMPAIGN, 1_000, claim(0, [1, 1, 1, 1]))
        log(store, CAMPAIGN, 1_001, record(RELEASED, 0), record(RETRY, 1), record(RELEASED, 2))
        with store.snapshot() as view:
            assert still_open(view, [(CAMPAIGN, 0), (CAMPAIGN, 2)]) == 0
            assert still_open(view, [(CAMPAIGN, 0), (CAMPAIGN, 3)]) == 1, "still claimed"


def test_what_an_earlier_try_left_uncertain_is_no_fault_of_the_release(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        log(store, CAMPAIGN, 1_000, claim(0, [1]))
        log(store, CAMPAIGN, 1_001, record(UNCERTAIN, 0, state=1))
        log(store, CAMPAIGN, 2_000, claim(0, [1]))
        log(store, CAMPAIGN, 2_001, record(RELEASED, 0))
        with store.snapshot() as view:
            assert ledger.state_of(view, CAMPAIGN, 0, 0) == State.UNCERTAIN
            assert still_open(view, [(CAMPAIGN, 0)]) == 0
