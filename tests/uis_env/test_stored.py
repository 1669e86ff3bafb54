"""Worlds in folders: what is saved comes back, and a damaged or hostile file is one ValueError that names it."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.uis_env.test_world import K, Q, R, make_world
from uis_env.pools import Pool
from uis_env.stored import ARRAYS, META, load_world, save_world, world_digest, world_parts


def same_channels(one, other):
    assert one.present().keys() == other.present().keys()
    for name, array in one.present().items():
        np.testing.assert_array_equal(getattr(other, name), array)
        assert getattr(other, name).dtype == array.dtype


@pytest.mark.parametrize("changes", [{}, {"halves": None}, {"cost_ends": {}, "defaults": {}}])
def test_a_saved_world_comes_back(tmp_path, changes):
    world = make_world(**changes)
    save_world(world, tmp_path / "Tiny")
    back = load_world(tmp_path / "Tiny")
    same_channels(world.channels, back.channels)
    same_channels(world.expected, back.expected)
    for one, other in zip(world.halves or (), back.halves or (), strict=True):
        same_channels(one, other)
    assert list(back.contexts) == ["plain", "wide"]
    np.testing.assert_array_equal(back.contexts["wide"], world.contexts["wide"])
    np.testing.assert_array_equal(back.catalog.features, world.catalog.features)
    for field in ("name", "simulated", "query_ids", "groups", "cost_ends", "defaults", "provenance"):
        assert getattr(back, field) == getattr(world, field)
    assert back.catalog.arms == world.catalog.arms and back.catalog.descriptions == world.catalog.descriptions


def test_saving_is_deterministic_and_leaves_nothing_else(tmp_path):
    save_world(make_world(), tmp_path / "one")
    save_world(make_world(), tmp_path / "two")
    for file in ("world.npz", "world.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "one/world.json",
        "one/world.npz",
        "two/world.json",
        "two/world.npz",
    ]


def test_the_digest_survives_files_and_covers_every_part(tmp_path):
    world = make_world()
    save_world(world, tmp_path / "Tiny")
    assert world_digest(load_world(tmp_path / "Tiny")) == world_digest(world) == world_digest(make_world())
    table = world.channels.quality.copy()
    table[0, 0, 0] = 1 - table[0, 0, 0]
    catalog = replace(world.catalog, feature_names=("x", "z"))
    changes = {
        "name": "Other",
        "simulated": False,
        "catalog": catalog,
        "contexts": {"plain": world.contexts["plain"]},
        "channels": world.channels._replace(quality=table),
        "expected": world.expected._replace(tokens=world.expected.tokens + 1),
        "recorded": ~np.eye(Q, K, dtype=bool),
        "query_ids": ("q0", "q2", "q1"),
        "groups": ("f", "g", "g"),
        "halves": None,
        "cost_ends": {},
        "defaults": {"cost": 1},
        "provenance": {"source": "elsewhere"},
    }
    digests = {world_digest(replace(world, **{part: value})) for part, value in changes.items()}
    assert len(digests | {world_digest(world)}) == len(changes) + 1


def test_damaged_files_are_named(tmp_path):
    save_world(make_world(), tmp_path / "Tiny")
    table, meta = tmp_path / "Tiny" / "world.npz", tmp_path / "Tiny" / "world.json"
    data, text = table.read_bytes(), meta.read_text()
    table.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"world\.npz: checksum differs"):
        load_world(tmp_path / "Tiny")
    table.write_bytes(data)
    for broken, message in (
        ("{", r"world\.json: not JSON"),
        ("[]", r"world\.json: expected a world of format 2"),
        (text.replace('"format": 2', '"format": 3'), "expected a world of format 2"),
        (json.dumps({k: v for k, v in json.loads(text).items() if k != "groups"}), "'groups' is missing"),
        (text.replace('"wide"', '"broad"'), "'context.broad' is missing"),
    ):
        meta.write_text(broken)
        with pytest.raises(ValueError, match=message):
            load_world(tmp_path / "Tiny")
    meta.unlink()
    with pytest.raises(FileNotFoundError, match="no world there, expected a folder"):
        load_world(tmp_path / "Tiny")


def pooled_world():
    rng = np.random.default_rng(1)
    pools = tuple(
        Pool(
            model,
            "direct",
            answer=rng.integers(-1, 3, (Q, 4)).astype(np.int32),
            correct=rng.random((Q, 4)),
            score=rng.random((Q, 4)),
            tokens=rng.random((Q, 4)),
            **{name: rng.random(Q) for name in ("prompt", "cached", "prefill_ms", "decode_ms")},
        )
        for model in ("a", "b")
    )
    orders = tuple(rng.permuted(np.tile(np.arange(4, dtype=np.int32), (Q, R, 1)), axis=-1) for _ in pools)
    return make_world(pools=pools, orders=orders)


def test_samples_come_back(tmp_path):
    world = pooled_world()
    save_world(world, str(tmp_path / "Tiny"))
    back = load_world(str(tmp_path / "Tiny"))
    assert world_digest(back) == world_digest(world) != world_digest(make_world())
    for one, other in zip(world.pools, back.pools, strict=True):
        assert (one.model, one.style) == (other.model, other.style)
        np.testing.assert_array_equal(one.answer, other.answer)
        np.testing.assert_array_equal(one.score, other.score)
    for one, other in zip(world.orders, back.orders, strict=True):
        np.testing.assert_array_equal(one, other)
        assert other.dtype == np.int32


def write(folder, arrays, meta):
    """Any arrays and any JSON, with the right checksum."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    seal(folder, buffer.getvalue(), meta)


def seal(folder, data, meta):
    folder.mkdir(exist_ok=True)
    (folder / ARRAYS).write_bytes(data)
    if isinstance(meta, dict) and "sha256" not in meta:
        meta = {**meta, "sha256": hashlib.sha256(data).hexdigest()}
    (folder / META).write_text(json.dumps(meta))


def test_pairs_of_earlier_versions_are_still_read(tmp_path):
    """Format 1: `<path>.json` and `<path>.npz`, arms without a style, no samples."""
    world = make_world()
    arrays, meta = world_parts(world)
    write(tmp_path, arrays, {"format": 1, **meta})
    old = json.loads((tmp_path / META).read_text())
    del old["pools"]
    old["catalog"]["arms"] = [arm[:3] for arm in old["catalog"]["arms"]]
    (tmp_path / "Old.json").write_text(json.dumps(old))
    (tmp_path / ARRAYS).rename(tmp_path / "Old.npz")
    for path in ("Old", "Old.npz"):
        assert world_digest(load_world(tmp_path / path)) == world_digest(world)


@pytest.mark.parametrize("cut", [0, 1, 30, 200, -100, -1])
def test_a_cut_archive_is_named_even_with_the_right_checksum(tmp_path, cut):
    world = pooled_world()
    arrays, meta = world_parts(world)
    write(tmp_path / "w", arrays, {"format": 2, **meta})
    seal(tmp_path / "w", (tmp_path / "w" / ARRAYS).read_bytes()[:cut], {"format": 2, **meta})
    with pytest.raises(ValueError, match=r"world\.npz: not an archive of arrays"):
        load_world(tmp_path / "w")


@given(st.data())
def test_any_flipped_byte_is_a_value_error_or_nothing(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped") / "w"
    arrays, meta = world_parts(make_world())
    write(folder, arrays, {"format": 2, **meta})
    raw = bytearray((folder / ARRAYS).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    seal(folder, bytes(raw), {"format": 2, **meta})
    try:
        load_world(folder)
    except ValueError as error:
        assert str(folder) in str(error)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("format", "name", "simulated", "catalog", "contexts", "query_ids", "groups", "pools", "cost_ends", "sha256")


@given(st.sampled_from((*KEYS, "arms", "feature_names", "descriptions")), anything)
def test_any_json_in_any_place_is_a_value_error_or_a_world(tmp_path_factory, key, value):
    folder = tmp_path_factory.mktemp("json") / "w"
    arrays, meta = world_parts(make_world())
    meta = {"format": 2, **meta}
    if key in meta or key == "sha256":
        meta[key] = value
    else:
        meta["catalog"] = {**meta["catalog"], key: value}
    write(folder, arrays, meta)
    try:
        load_world(folder)
    except ValueError as error:
        assert str(folder) in str(error)


@given(anything)
def test_any_json_at_all_is_a_value_error(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("json") / "w"
    write(folder, world_parts(make_world())[0], value)
    with pytest.raises(ValueError, match=r"world\.json: "):
        load_world(folder)


def test_shapes_are_checked_before_anything_is_unpacked(tmp_path, monkeypatch):
    arrays, meta = world_parts(make_world())
    meta = {"format": 2, **meta}
    large = np.zeros((Q, 1 << 22, K), np.float32)
    write(tmp_path / "w", {**arrays, "channel.dollars": large}, meta)
    monkeypatch.setattr(np, "load", None)  # nothing is unpacked
    with pytest.raises(
        ValueError, match=r"world\.npz: 'channel.dollars' has shape \(3, 4194304, 2\), expected \(3, 2, 2\)"
    ):
        load_world(tmp_path / "w")
    drawn = {name: np.zeros((Q, 1 << 14, K), np.float32) for name in arrays if name.startswith("channel.")}
    write(tmp_path / "w", {**arrays, **drawn}, meta)
    monkeypatch.setattr("uis_env.stored.MOST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match=r"world\.npz: 0.0 GB of arrays, expected at most"):
        load_world(tmp_path / "w")


def test_a_header_that_lies_and_objects_are_refused(tmp_path):
    arrays, meta = world_parts(make_world())
    meta = {"format": 2, **meta}
    write(tmp_path / "w", {**arrays, "recorded": np.full((Q, K), None)}, meta)
    with pytest.raises(ValueError, match=r"world\.npz: not an archive of arrays"):
        load_world(tmp_path / "w")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    data = io.BytesIO()
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(data, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b"more" if name == "recorded.npy" else b""))
    seal(tmp_path / "w", data.getvalue(), meta)
    with pytest.raises(ValueError, match=r"recorded.npy is not as long as its header says"):
        load_world(tmp_path / "w")


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("order", np.full((Q, R, 4), 4, np.int32), "order holds other numbers than 0..3"),
        ("order", np.zeros((Q, R + 1, 4), np.int32), "order is int32"),
        ("answer", np.zeros((Q, 4)), "answer is float64"),
        ("prompt", np.zeros(Q + 1), "prompt is float64"),
        ("tokens", np.zeros((Q, 5)), "tokens is float64"),
    ],
)
def test_samples_that_do_not_fit(part, value, message):
    world = pooled_world()
    with pytest.raises(ValueError, match=rf"pool 'a', 'direct': {message}"):
        if part == "order":
            replace(world, orders=(value, world.orders[1]))
        else:
            replace(world, pools=(replace(world.pools[0], **{part: value}), world.pools[1]))
