"""A View with changes laid over it reads as the store will once they are in."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.records.changes import Changes
from dispatcher.store.after import After

keys = st.binary(min_size=1, max_size=3)
rows = st.dictionaries(keys, st.one_of(st.none(), st.binary(max_size=4)), max_size=8)


def changes_of(rows: dict[bytes, bytes | None]) -> Changes:
    changes = Changes()
    for key, row in rows.items():
        if row is None:
            changes.delete("prices", key)
        else:
            changes.put("prices", key, row)
    return changes


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=rows, changed=rows, prefix=st.binary(max_size=1), after=st.one_of(st.none(), keys), reverse=st.booleans())
def test_what_it_reads_is_what_stands_there_afterwards(store, stored, changed, prefix, after, reverse):
    with store.begin_write() as view:
        for key, _ in list(view.range("prices")):
            view.txn.delete(key, db=view.tables["prices"])
        view.apply(changes_of(stored))
        seen = After(view, changes_of(changed))
        found = list(seen.range("prices", prefix, after=after, reverse=reverse))
        one, count = {key: seen.get("prices", key) for key in changed}, seen.count("prices")
        view.apply(changes_of(changed))
        assert found == list(view.range("prices", prefix, after=after, reverse=reverse))
        assert one == {key: view.get("prices", key) for key in changed}
        assert count == view.count("prices")
