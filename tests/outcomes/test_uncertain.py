"""The set of messages that may have been accepted: by number, each part once."""

import random

from dispatcher.outcomes.uncertain import Uncertain, UncertainSet


def one(number: int = 77, rank: int = 0, part: int = 0, campaign: int = 1) -> Uncertain:
    return Uncertain(campaign, 0, rank, part, rank, number)


def test_a_part_is_in_it_once_however_often_it_is_added():
    uncertain = UncertainSet()
    for item in (one(), one(), one(part=1), one(campaign=2), one(number=78), one()):
        uncertain.add(item)
    assert len(uncertain) == 4 and uncertain.of(77) == [one(), one(part=1), one(campaign=2)]
    assert uncertain.of(79) == [] and repr(uncertain) == "<UncertainSet 4 parts, 2 numbers>"


def test_what_is_removed_is_gone_and_removing_it_again_is_nothing():
    uncertain = UncertainSet()
    uncertain.add(one())
    uncertain.add(one(rank=1))
    for _ in range(2):
        uncertain.remove(one())
    uncertain.remove(one(number=99))
    assert len(uncertain) == 1 and uncertain.of(77) == [one(rank=1)]
    uncertain.remove(one(rank=1))
    assert repr(uncertain) == "<UncertainSet 0 parts, 0 numbers>"


def test_what_of_gives_may_be_kept_while_the_set_changes():
    uncertain = UncertainSet()
    for rank in range(5):
        uncertain.add(one(rank=rank))
    for item in uncertain.of(77):
        uncertain.remove(item)
    assert len(uncertain) == 0


def test_its_length_is_right_after_anything():
    draw, uncertain, model = random.Random(7), UncertainSet(), set()
    for _ in range(2_000):
        item = one(draw.randrange(5), draw.randrange(9), draw.randrange(2))
        if draw.random() < 0.6:
            uncertain.add(item)
            model.add(item)
        else:
            uncertain.remove(item)
            model.discard(item)
        assert len(uncertain) == len(model)
    assert {item for number in range(5) for item in uncertain.of(number)} == model
