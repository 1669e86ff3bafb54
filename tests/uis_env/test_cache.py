import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from uis_env.arms import Arm, ArmCatalog
from uis_env.world import Channels, World
from uis_env.worlds import cache
from uis_env.worlds.cache import cache_folder, cached_world, key_hash

KEY = {"world": "Tiny", "seed": 3}


def tiny(seed: int = 3) -> World:
    quality = np.random.default_rng(seed).random((4, 2, 1), np.float32)
    return World(
        name="Tiny",
        simulated=True,
        catalog=ArmCatalog((Arm("m", "single", (1,)),), np.ones((1, 1), np.float32), ("one",), ("m once",)),
        contexts={"features": np.ones((4, 1), np.float32)},
        channels=Channels(quality),
        expected=Channels(quality.mean(axis=1)),
        recorded=np.ones((4, 1), bool),
        query_ids=("a", "b", "c", "d"),
        groups=("g",) * 4,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def never() -> World:
    raise AssertionError("the world was built again")


def test_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIS_CACHE", "/somewhere/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/xdg")
    assert cache_folder() == Path("/somewhere/own")
    monkeypatch.delenv("UIS_CACHE")
    assert cache_folder() == Path("/somewhere/xdg/uis_env")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "uis_env"


def test_key_ignores_order_and_feels_every_value() -> None:
    assert key_hash({"a": 1, "b": [2]}) == key_hash({"b": [2], "a": 1})
    assert len({key_hash(key) for key in ({"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1}, {"a": None})}) == 5


def test_a_world_is_built_once(folder: Path) -> None:
    first = cached_world(KEY, tiny)
    again = cached_world(KEY, never)
    assert np.array_equal(first.channels.quality, again.channels.quality)
    assert sorted(path.name for path in folder.rglob("*.*")) == ["world.json", "world.npz"]


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_damaged_file_is_made_again(folder: Path, suffix: str) -> None:
    cached_world(KEY, tiny)
    path = next(folder.rglob(f"*{suffix}"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=path.name.replace(".", r"\.")):
        cached_world(KEY, tiny)
    assert path.read_bytes() == whole
    cached_world(KEY, never)


def test_a_missing_half_is_made_again(folder: Path) -> None:
    cached_world(KEY, tiny)
    next(folder.rglob("*.npz")).unlink()
    cached_world(KEY, tiny)
    cached_world(KEY, never)


def test_a_broken_write_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("uis_env.files.os.replace", fail)
    with pytest.warns(UserWarning, match="not cached.*disk full"):
        cached_world(KEY, tiny)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_an_unusable_folder_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "file")
    with pytest.warns(UserWarning, match="not cached"):
        assert cached_world(KEY, tiny).name == "Tiny"


def write(_: int) -> bytes:
    return cached_world(KEY, tiny).channels.quality.tobytes()


def test_processes_do_not_tread_on_each_other(folder: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = set(pool.map(write, range(12), chunksize=1))
    assert results == {tiny().channels.quality.tobytes()}
    assert len(list(folder.rglob("*.*"))) == 2
    cached_world(KEY, never)
