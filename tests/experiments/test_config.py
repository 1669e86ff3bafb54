"""Configs: what is wrong is refused, and the message names the key."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import Config, ConfigError, load_config, parse_config
from experiments.results import CellKey
from experiments.store import Unit

MINIMAL: dict[str, Any] = {
    "name": "c",
    "rounds": 10,
    "seeds": 2,
    "worlds": [{"name": "Recorded"}],
    "preferences": [{"name": "free"}],
    "agents": [{"name": "random"}],
}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"roundz": 5}, "roundz"),
        ({"rounds": "many"}, "rounds"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": 10**15}, "rounds"),
        ({"seeds": 2.5}, "seeds"),
        ({"name": "../up"}, "name"),
        ({"agents": []}, "agents"),
        ({"worlds": []}, "worlds"),
        ({"agents": [{"name": "random"}, {"name": "random"}]}, "agents[1].name"),
        ({"agents": [{"name": "random"}, {"name": "x", "alpha": 1}]}, "agents[1]"),
        ({"agents": [{"name": "x", "kind": "os system"}]}, "agents[0].kind"),
        ({"agents": [{"name": "x", "options": {"a": {"b": 1}}}]}, "agents[0].options"),
        ({"preferences": [{"name": "p", "cost": -1.0}]}, "preferences[0].cost"),
        ({"preferences": [{"name": "p", "cost": float("nan")}]}, "preferences[0].cost"),
        ({"preferences": [{"name": "p", "cost_channel": "euros"}]}, "preferences[0].cost_channel"),
        ({"scenarios": [{"name": "späte"}]}, "scenarios[0].name"),
        ({"order": "random"}, "order: Invalid enum value 'random', expected one of 'passes', 'iid'"),
    ],
)
def test_errors_name_the_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({**MINIMAL, **change}, "my.toml")
    assert key in str(caught.value)
    assert str(caught.value).startswith("my.toml: ")


@pytest.mark.parametrize("missing", ["name", "rounds", "seeds", "worlds", "preferences", "agents"])
def test_a_missing_key_is_named(missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        parse_config({key: value for key, value in MINIMAL.items() if key != missing}, "my.toml")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(key=st.sampled_from([*MINIMAL, "block", "pilot", "scenarios", "order", "unknown"]), value=json_values)
def test_any_value_is_taken_or_refused_by_name(key: str, value: Any) -> None:
    try:
        config = parse_config({**MINIMAL, key: value}, "my.toml")
    except ConfigError as error:
        assert key in str(error)
    else:
        assert isinstance(config, Config)


PLACES = [("worlds", "name"), ("worlds", "options"), ("worlds", "context"), ("worlds", "kind"), ("agents", "name")]
PLACES += [
    ("agents", "kind"),
    ("agents", "options"),
    ("agents", "seeds_per_call"),
    ("agents", "only"),
    ("agents", "pilot"),
]
PLACES += [("preferences", "name"), ("preferences", "cost"), ("preferences", "ends"), ("scenarios", "name")]


@given(place=st.sampled_from(PLACES), value=json_values)
def test_any_value_inside_an_entry_is_taken_or_refused_by_name(place: tuple[str, str], value: Any) -> None:
    table, key = place
    entry = {**MINIMAL.get(table, [{"name": "stationary"}])[0], key: value}
    try:
        config = parse_config({**MINIMAL, table: [entry]}, "my.toml")
    except ConfigError as error:
        assert f"{table}[0].{key}" in str(error)
    else:
        assert isinstance(config, Config)


paths = st.text(max_size=12) | st.lists(st.sampled_from(["..", "/", "\\", "a", "~", ".", "C:", "\0"]), max_size=5).map(
    "".join
)


@given(name=paths)
def test_no_name_leads_out_of_the_run_directory(name: str) -> None:
    tables = ("worlds", "scenarios", "preferences", "agents")
    try:
        config = parse_config({**MINIMAL, **{table: [{"name": name}] for table in tables}, "name": name}, "my.toml")
    except ConfigError:
        return
    results = Path("results").resolve()
    root = (results / config.name).resolve()
    assert root.parent == results
    cell = CellKey(config.worlds[0].name, config.scenarios[0].name, config.preferences[0].name)
    assert (root / Unit(cell, config.agents[0].name, 0).path).resolve().parents[3] == root / "units"


@given(text=st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"any\.toml"):
        load_config(path)


def test_round_trip_and_digest() -> None:
    config = parse_config(MINIMAL, "my.toml")
    again = parse_config(msgspec.to_builtins(config), "again")
    assert again == config
    assert again.digest == config.digest
    assert parse_config({**MINIMAL, "description": "words"}, "x").digest == config.digest
    assert parse_config({**MINIMAL, "seeds": 3}, "x").digest != config.digest


def test_files_that_are_not_configs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes("name = 'späte'".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.toml: not UTF-8"):
        load_config(tmp_path / "latin.toml")


@pytest.mark.parametrize("path", sorted(Path("paper_configs").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_configs_load_and_describe_themselves(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert len(config.description) > 20
    assert tomllib.loads(path.read_text())["name"] == config.name


SWEPT = {
    "name": "x", "rounds": 10, "seeds": 2, "worlds": [{"name": "LatencyAware"}], "agents": [{"name": "probe"}],
}  # fmt: skip


def test_sweeps_expand_to_named_preferences_each_once():
    grid = {"low": 1e-3, "high": 1e-1, "points": 3}
    config = parse_config(
        {**SWEPT, "sweeps": [{"tokens": grid, "latency": [0, 0.01]}, {"latency": grid, "tokens": 1e-2}]}, "f"
    )
    names = [preference.name for preference in config.swept]
    assert names == [
        "tokens=0.001+latency=0", "tokens=0.001+latency=0.01", "tokens=0.01+latency=0", "tokens=0.01+latency=0.01",
        "tokens=0.1+latency=0", "tokens=0.1+latency=0.01", "tokens=0.01+latency=0.001", "tokens=0.01+latency=0.1",
    ]  # fmt: skip
    assert config.swept[2].tokens == 0.01 and config.swept[2].quality == 1.0
    again = parse_config(config.to_json(), "g")
    assert again.swept == config.swept and again.digest == config.digest


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"tokens": -1.0}, r"sweeps\[0\].tokens: Expected `float` >= 0.0"),
        ({"latency": float("nan")}, r"sweeps\[0\].latency: Expected `float` >= 0.0"),
        ({"tokens": [0.0, float("nan")]}, r"sweeps\[0\].tokens\[1\]: Expected `float` >= 0.0"),
        ({"tokens": float("inf")}, r"sweeps\[0\].tokens: Expected `float` <= "),
        ({"tokens": [[1e-3]]}, r"sweeps\[0\].tokens\[0\]: Expected `float`, got `array`"),
        ({"tokens": "cheap"}, r"sweeps\[0\].tokens: Expected `float \| object \| array`, got `str`"),
        ({"tokens": {"low": 0.0, "high": 1.0, "points": 3}}, r"sweeps\[0\].tokens.low: Expected `float` > 0.0"),
        ({"tokens": {"low": 1.0, "high": 0.1, "points": 3}}, r"sweeps\[0\].tokens: low is 1 and high 0.1"),
        ({"tokens": []}, r"sweeps\[0\]: tokens is an empty list"),
        ({"speed": 1.0}, r"sweeps\[0\]: unknown key 'speed'"),
    ],
)
def test_bad_weights_of_a_sweep_are_refused_by_key(sweep, message):
    with pytest.raises(ConfigError, match=f"^f: {message}"):
        parse_config({**SWEPT, "sweeps": [sweep]}, "f")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "expected either preferences or sweeps"),
        ({"sweeps": [{}], "preferences": [{"name": "a"}]}, "expected either preferences or sweeps"),
        ({"sweeps": [{}], "order": "iid"}, "order is 'iid', expected 'passes' in a config with sweeps"),
        ({"sweeps": [{}], "scenarios": [{"name": "surge"}]}, "a config with sweeps has no scenarios"),
        ({"sweeps": [{}, {"cost_channel": "eflops"}]}, "the sweeps price cost in different channels"),
        ({"sweeps": [{}], "agents": [{"name": "probe", "rehearsal": 5}]}, r"agents\[0\].rehearsal: expected only in"),
    ],
)
def test_what_a_sweep_cannot_go_with_is_refused(changes, message):
    with pytest.raises(ConfigError, match=f"^f: {message}"):
        parse_config({**SWEPT, **changes}, "f")
