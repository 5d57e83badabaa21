"""The table of mutants fits the code: whoever changes a line that is broken there on purpose moves its row too."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS, Mutant

HOUSE = Path(__file__).parents[1]


def test_each_has_a_name_of_its_own():
    assert max(Counter(mutant.name for mutant in MUTANTS).values()) == 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_line_stands_once_in_its_file_and_the_tests_are_there(mutant: Mutant):
    assert (HOUSE / mutant.file).read_text().count(mutant.old) == 1 and mutant.old != mutant.new
    for test in mutant.tests:
        file, _, function = test.partition("::")
        assert not function or f"def {function.partition('[')[0]}(" in (HOUSE / file).read_text()
