import itertools
import os
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

import config
from config.load import SECTIONS
from config.settings import Endpoint, Route, SettingError, Settings


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "volley.toml"
    path.write_text(config.example_text())
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def refusal(path: Path, text: str, env: dict[str, str] | None = None) -> SettingError:
    with pytest.raises(SettingError) as refused:
        config.load(written(path, text), env=env or {})
    return refused.value


def test_the_example_is_what_the_defaults_are(file):
    settings = config.load(file, env={})
    assert settings == Settings(
        data=file.parent,
        file=file,
        endpoints=(Endpoint(name="main", host="127.0.0.1", system_id="volley", password="volley"),),
        routes=(Route(name="all", endpoints=("main",), enabled=False),),
    )


def test_the_example_lists_every_key_of_every_section_with_its_default():
    example = tomllib.loads(config.example_text())
    tables = {name: (example[name], cls) for name, cls in SECTIONS.items()}
    tables |= {"endpoint": (example["endpoint"][0], Endpoint), "route": (example["route"][0], Route)}
    assert set(example) == set(tables)
    for section, (table, cls) in tables.items():
        assert set(table) == {item.name for item in fields(cls)}, section
        for item in fields(cls):
            if item.default is not MISSING and (section, item.name) not in (
                ("endpoint", "password"),
                ("route", "enabled"),
            ):
                value = tuple(table[item.name]) if isinstance(item.default, tuple) else table[item.name]
                assert value == item.default, f"{section}.{item.name}"


def test_each_key_of_the_example_stands_below_a_comment():
    lines = config.example_text().splitlines()
    for above, line in itertools.pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert above.startswith("#"), line


def test_a_data_folder_with_a_file_is_read(file):
    file.write_text(file.read_text().replace("port = 8080", "port = 8099"))
    assert config.load(data=file.parent, env={}).api.port == 8099


def test_a_data_folder_without_a_file_has_the_defaults(tmp_path):
    assert config.load(data=tmp_path, env={}) == Settings(data=tmp_path)


def test_data_given_wins_over_data_written(tmp_path, file):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert config.load(file, elsewhere, env={}).data == elsewhere


def test_written_data_is_relative_to_its_file(tmp_path, file):
    (tmp_path / "store").mkdir()
    file.write_text(file.read_text().replace('data = "."', 'data = "store"'))
    assert config.load(file, env={}).data == tmp_path / "store"


def test_the_environment_says_where_when_no_argument_does(file, tmp_path):
    assert config.load(env={"VOLLEY_CONFIG": str(file)}).file == file
    assert config.load(env={"VOLLEY_DATA": str(tmp_path)}).data == tmp_path
    assert config.load(data=tmp_path, env={"VOLLEY_CONFIG": "/nowhere"}).data == tmp_path


def test_without_a_place_the_error_says_how_to_give_one():
    with pytest.raises(SettingError, match="--config FILE or --data DIR"):
        config.load(env={})


def test_one_key_is_overridden_by_the_environment(file):
    env = {
        "VOLLEY_API_PORT": "9000",
        "VOLLEY_STORE_SYNC": "no",
        "VOLLEY_ENDPOINT_WINDOW": "7",
        "VOLLEY_ENDPOINT_PASSWORD": "for-all",
        "VOLLEY_ENDPOINT_MAIN_PASSWORD": "for-main",
        "VOLLEY_ELSEWHERE": "not ours",
    }
    settings = config.load(file, env=env)
    assert (settings.api.port, settings.store.sync, settings.endpoints[0].window) == (9000, False, 7)
    assert settings.endpoints[0].password == "for-main"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("VOLLEY_API_PORT", "many", "VOLLEY_API_PORT: port = 'many': must be a whole number"),
        ("VOLLEY_API_PORT", "0", "VOLLEY_API_PORT: port = 0: 1 to 65,535"),
        ("VOLLEY_API_PROT", "1", "VOLLEY_API_PROT: prot = '1': no such key; did you mean 'port'?"),
        ("VOLLEY_ENDPOINT_MAIN_WIDOW", "1", "did you mean 'VOLLEY_ENDPOINT_MAIN_WINDOW'?"),
        ("VOLLEY_STORE_SYNC", "maybe", "must be true or false"),
    ],
)
def test_a_wrong_override_names_its_variable(file, variable, value, words):
    with pytest.raises(SettingError) as refused:
        config.load(file, env={variable: value})
    assert words in str(refused.value)


def test_an_override_of_an_endpoint_where_the_file_has_none_says_that(tmp_path):
    file = tmp_path / "volley.toml"
    file.write_text("[api]\nport = 8080\n")
    with pytest.raises(SettingError, match=r"there is no \[\[endpoint\]\] in volley.toml"):
        config.load(file, env={"VOLLEY_ENDPOINT_MAIN_PASSWORD": "secret"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[api]\nprot = 1", "[api] prot = 1: no such key; did you mean 'port'?"),
        ("[apy]\nport = 1", "apy: no such section; did you mean 'api'?"),
        ("[api]\nport = '1'", "[api] port = '1': must be a whole number"),
        ("[api]\nport = true", "must be a whole number"),
        ("[api]\nport = 70000", "[api] port = 70000: 1 to 65,535"),
        ("[store]\nsync = 1", "must be true or false"),
        ("[store]\ncommit_gap_ms = nan", "must be a number"),
        ("[store]\nalarm_percent = 95", "1 to 90 %, at most full_percent"),
        ("[dispatcher]\nfold_every_s = inf", "0.05 to 60 s"),
        ("[log]\nlevel = 'inf'", "one of debug, info, warning, error; did you mean 'info'?"),
        ("api = 3", "is a section: write [api]"),
        ("[endpoint]\nname = 'a'", "write [[endpoint]]"),
        ("endpoint = [1]", "write [[endpoint]]"),
        ("[[endpoint]]\nname = 'a'\nhost = 'h'", "[endpoint a] system_id: is missing and has no default"),
        ("[[endpoint]]\nname='a'\nhost='h'\nsystem_id='0123456789abcdef'", "1 to 15 ASCII octets"),
        ("[[endpoint]]\nname='a'\nhost='h'\nsystem_id='x'\nreceipt_ids='hex'", "one of same, hex_decimal"),
        ("[[endpoint]]\nname='a b'\nhost='h'\nsystem_id='x'", "1 to 32 letters"),
        ("[[endpoint]]\nname='a'\nhost='h'\nsystem_id='x'\n" * 2, "each endpoint needs a name of its own"),
        ("[api", "is not TOML"),
        ("[store]\ndata = 'gone'", "no such folder"),
    ],
)
def test_a_mistake_names_file_key_value_and_rule(tmp_path, text, words):
    path = tmp_path / "volley.toml"
    said = str(refusal(path, text))
    assert said.startswith(f"{path}: ")
    assert words in said
    assert "\n" not in said


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingError, match="no such file"):
        config.load(tmp_path / "none.toml", env={})


def test_a_password_is_shown_nowhere(tmp_path, file):
    assert "secret" not in repr(Endpoint(name="a", host="h", system_id="x", password="secret"))
    text = "[[endpoint]]\nname='a'\nhost='h'\nsystem_id='x'\npassword='long-secret'"
    assert "long-secret" not in str(refusal(tmp_path / "volley.toml", text))
    assert "1234" not in str(refusal(tmp_path / "volley.toml", text.replace("'long-secret'", "1234")))


def test_a_data_folder_too_deep_for_its_socket_is_refused(tmp_path):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(SettingError, match="limit of a socket"):
        config.load(data=deep, env={})


def test_uncertain_messages_are_held_for_the_response_timeout_and_a_minute(file):
    assert config.load(file, env={}).holding_s == 90.0
    assert config.load(file, env={"VOLLEY_ENDPOINT_RESPONSE_TIMEOUT_S": "5"}).holding_s == 65.0
    assert config.load(file, env={"VOLLEY_DISPATCHER_HOLDING_S": "2"}).holding_s == 2.0


def test_the_real_environment_is_read_when_none_is_given(file, monkeypatch):
    monkeypatch.setitem(os.environ, "VOLLEY_API_PORT", "8123")
    assert config.load(file).api.port == 8123


def written_endpoint(lines: str) -> str:
    return f'[[endpoint]]\nname = "a"\nhost = "h"\nsystem_id = "x"\n{lines}\n'


def test_an_endpoint_has_its_addresses_in_the_order_of_trying(tmp_path):
    text = written_endpoint('addresses = ["b.example:2776", "[::1]:2777"]')
    endpoint = config.load(written(tmp_path / "volley.toml", text), env={}).endpoints[0]
    assert endpoint.places == (("h", 2775), ("b.example", 2776), ("::1", 2777))
    told = {"VOLLEY_ENDPOINT_A_ADDRESSES": "c.example:1, d.example:2"}
    endpoint = config.load(written(tmp_path / "volley.toml", text), env=told).endpoints[0]
    assert endpoint.places[1:] == (("c.example", 1), ("d.example", 2))


def test_files_of_tls_are_relative_to_the_file_that_names_them(tmp_path):
    text = written_endpoint('tls = true\ntls_ca = "ca.pem"')
    endpoint = config.load(written(tmp_path / "volley.toml", text), env={}).endpoints[0]
    assert endpoint.tls_ca == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('addresses = ["b"]', "host:port"),
        ('addresses = ["b:0"]', "host:port"),
        ("addresses = [1]", "a list of texts"),
        ('outbind_listen = ":99"', "host:port"),
        ('tls_ca = "ca.pem"', "means nothing without tls = true"),
        ('tls = true\ntls_cert = "c.pem"', "tls_cert and tls_key go together"),
        ('tls = true\ntls_pin = "abc"', "64 hex digits"),
        ('bind_as = "trxx"', "did you mean 'trx'?"),
        ("inactivity_s = 5.0", "from enquire_link_s on"),
        ("bind_rate = -1", "parts/s"),
    ],
)
def test_what_an_endpoint_may_not_say_is_refused_with_its_rule(tmp_path, lines, words):
    assert words in str(refusal(tmp_path / "volley.toml", written_endpoint(lines)))
