from dispatcher.records.changes import Changes
from dispatcher.store import open_store
from dispatcher.store.layout import U64


def test_list_tells_who_did_what_and_why_and_check_that_nobody_changed_it(volley, data):
    volley("tenant", "create", "Shop", "--data", data)
    rows = volley("audit", "list", "--data", data, "--json").rows
    assert [(row["seq"], row["command"], row["actor"]) for row in rows] == [
        (2, "tenant.create", "cli"),
        (1, "key.create", "cli"),
    ]
    assert [row["seq"] for row in volley("audit", "list", "--command", "key.", "--data", data, "--json").rows] == [1]
    said = volley("audit", "check", "--data", data, "--json")
    assert (said.status, said.json["entries"], said.json["broken"]) == (0, 2, None)


def test_a_table_in_a_pipe_breaks_no_line(volley, data):
    volley("tenant", "create", "A shop whose title is as long as one may be: " + "long " * 10, "--data", data)
    table = volley("audit", "list", "--data", data).out.splitlines()
    entry = volley("audit", "list", "--data", data, "--json").rows[0]
    assert len(table) == 3 and all(entry[name] in table[1] for name in ("at", "command", "object"))


def test_a_changed_entry_is_named_with_status_1(volley, data):
    seal = volley("audit", "check", "--data", data, "--json").json["seal"]
    volley("tenant", "create", "Shop", "--data", data)
    assert volley("audit", "check", "--expect", f"1:{seal}", "--data", data).status == 0
    said = volley("audit", "check", "--expect", f"2:{seal}", "--data", data)
    assert said.status == 1 and "entry 2: has another seal" in said.out
    assert volley("audit", "check", "--expect", "1:abc", "--data", data).status == 2
    with open_store(data, write=True) as store:
        with store.snapshot() as view:
            row = view.get("audit", U64.pack(1))
        changes = Changes()
        changes.put("audit", U64.pack(1), row.replace(b"cli", b"clu"))
        store.apply(changes)
    said = volley("audit", "check", "--data", data)
    assert said.status == 1 and said.out.startswith("entry 1: its seal does not fit")
    assert volley("verify", "--data", data).status == 1
