"""Unit files: what was written comes back bit by bit; what is damaged is noticed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.results import AgentRuns, Cell, CellKey, Entrant, concatenate
from experiments.store import Store, StoreError, Unit, gather, read_json, read_manifest, read_runs, write_runs

UNIT = Unit(CellKey("World", "stationary", "lambda=1"), "linucb", 0)


def key(unit: Unit) -> dict[str, object]:
    return {"agent": unit.agent, "block": {"size": 3}}


def make_runs(seeds: int = 3, seed: int = 0) -> AgentRuns:
    random = np.random.default_rng(seed)
    return AgentRuns(
        totals={"reward": random.normal(size=seeds), "pilot_charge": np.zeros(seeds)},
        curves={"reward": random.normal(size=(seeds, 4)).astype(np.float32)},
        arms=random.integers(9, size=(4, 5)),
        arm_count=random.integers(9, size=(seeds, 5), dtype=np.int32),
        query_reward=random.normal(size=(seeds, 6)).astype(np.float32),
        query_count=random.integers(9, size=(seeds, 6), dtype=np.int32),
    )


def assert_equal(a: AgentRuns, b: AgentRuns) -> None:
    assert a.totals.keys() == b.totals.keys()
    for name in a.totals:
        np.testing.assert_array_equal(a.totals[name], b.totals[name])
    for name in ("arms", "arm_count", "query_reward", "query_count"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_round_trip_and_same_bytes(tmp_path: Path) -> None:
    runs = make_runs()
    for folder in ("a", "b"):
        store = Store(tmp_path / folder, key, "commit")
        store.save(UNIT, runs)
        stored = store.read(UNIT)
        assert stored is not None
        assert_equal(stored.runs, runs)
        assert (stored.key, stored.commit) == (key(UNIT), "commit")
    assert (tmp_path / "a" / UNIT.path).read_bytes() == (tmp_path / "b" / UNIT.path).read_bytes()
    with np.load(tmp_path / "a" / UNIT.path, allow_pickle=False) as plain:
        np.testing.assert_array_equal(plain["arms"], runs.arms)
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_a_unit_of_another_key_is_not_done(tmp_path: Path) -> None:
    Store(tmp_path, key).save(UNIT, make_runs())
    assert Store(tmp_path, key).done(UNIT)
    assert not Store(tmp_path, lambda unit: {"agent": "other"}).done(UNIT)


@pytest.mark.parametrize(
    "other",
    [UNIT._replace(agent="random"), UNIT._replace(block=1), UNIT._replace(cell=UNIT.cell._replace(world="Other"))],
)
def test_a_file_in_another_units_place_is_refused_by_name(tmp_path: Path, other: Unit) -> None:
    store = Store(tmp_path, key)
    store.save(UNIT, make_runs())
    store.save(other, make_runs())
    (tmp_path / UNIT.path).write_bytes((tmp_path / other.path).read_bytes())
    with pytest.raises(StoreError, match=rf"{UNIT.path.name} holds {other.agent}, block {other.block}, of "):
        store.read(UNIT)


def test_what_killed_writers_leave_behind_is_removed_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path, key)
    store.save(UNIT, make_runs())
    debris = [tmp_path / UNIT.path.parent / ".best_fixed-4.npz._grhr2xj", tmp_path / ".manifest.json.ab_c12z9"]
    kept = [tmp_path / ".lock", tmp_path / ".gitignore", tmp_path / "notes.json", tmp_path / UNIT.path]
    for path in (*debris, *kept[:3]):
        path.write_text("x")
    store.tidy()
    assert not any(path.exists() for path in debris)
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 1}', "3", "null"])
def test_a_manifest_of_another_version_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json: not of format 2"):
        read_manifest(tmp_path)


def test_a_folder_in_the_place_of_a_unit_is_no_unit(tmp_path: Path) -> None:
    store = Store(tmp_path, key)
    (tmp_path / UNIT.path).mkdir(parents=True)
    assert store.read(UNIT) is None
    (tmp_path / UNIT.path).rmdir()
    (tmp_path / UNIT.path).symlink_to(tmp_path / UNIT.path)
    assert store.read(UNIT) is None


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_or_a_cut_is_noticed(place: float, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("store")
    store = Store(folder, key)
    runs = make_runs()
    store.save(UNIT, runs)
    path = folder / UNIT.path
    whole = path.read_bytes()
    at = int(place * len(whole))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
    assert store.read(UNIT) is None
    path.write_bytes(whole[:at])
    assert store.read(UNIT) is None


def test_gather_joins_blocks_and_names_what_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path, key)
    first, second = make_runs(3, 0), make_runs(2, 1)
    store.save(UNIT, first)
    with pytest.raises(StoreError, match=r"linucb-1\.npz is missing"):
        gather(store, UNIT.cell, ["linucb"], 2)
    store.save(UNIT._replace(block=1), second)
    assert_equal(gather(store, UNIT.cell, ["linucb"], 2)["linucb"], concatenate([first, second]))


def test_runs_come_back_whole(tmp_path: Path) -> None:
    cells = [
        Cell(
            CellKey("W", "s", p),
            100,
            25,
            np.arange(3),
            {"a": make_runs(3, i), "b": make_runs(3, i + 5)},
            {"a": Entrant("oracle", "reference"), "b": Entrant("linucb", "learner")},
            {"x": [1, None]},
        )
        for i, p in enumerate(("p", "q"))
    ]
    write_runs(tmp_path, cells)
    for cell, again in zip(cells, read_runs(tmp_path), strict=True):
        assert again.key == cell.key
        assert list(again.agents) == ["a", "b"]
        assert again.references == cell.references
        assert again.entrants == cell.entrants
        for name in cell.agents:
            assert_equal(again.agents[name], cell.agents[name])


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"references\.json does not exist"):
        read_runs(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        read_json(tmp_path / "manifest.json")
