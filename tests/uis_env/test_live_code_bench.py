import gzip
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from uis_env.stored import load_world, save_world
from uis_env.worlds.live_code_bench import FILES, MODELS, find_data, live_code_bench, split_effort

HEADER = "question_id,dataset,model,method,n_samples,n_correct,score,difficulty,platform,date,source_commit"
TURBO, MINI, SONNET = "GPT-4-Turbo-2024-04-09", "GPT-4O-mini-2024-07-18", "Claude-3.5-Sonnet-20241022"
COUNTS = {TURBO: [10, 3, 0, 1, 5, 9], MINI: [2, 0, 7, 7, 1, 4], SONNET: [9, 8, 1, 1, 1]}  # Sonnet was not run on q5
EFFORT = {
    "O4-Mini (High)": [1, 1, 0, 1, 1, 1],
    "O4-Mini (Low)": [1, 0, 0, 1, 0, 0],
    "O4-Mini (Medium)": [1, 1, 0, 1, 0, 0],
}


def line(query: str, model: str, samples: object, correct: object, method: str = "single") -> str:
    return f"{query},codegeneration,{model},{method},{samples},{correct},0,easy,leetcode,2024-01-01,abc"


def write(folder: Path, lines: list[str], queries: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    with gzip.open(folder / "outcomes.csv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join([HEADER, *lines]) + "\n")
    with gzip.open(folder / "queries.csv.gz", "wt", encoding="utf-8") as file:
        file.write("question_id,text_chars\n" + "".join(f"q{i},{400 * (i + 1)}\n" for i in range(queries)))
    np.save(folder / "embeddings.npy", np.random.default_rng(0).standard_normal((queries, 5)).astype(np.float16))
    return folder


@pytest.fixture
def rows() -> list[str]:
    lines = [line(f"q{i}", name, 10, c) for name, counts in COUNTS.items() for i, c in enumerate(counts)]
    lines += [line(f"q{i}", name, 1, c) for name, counts in EFFORT.items() for i, c in enumerate(counts)]
    lines.append(line("q0", TURBO, 10, 7, method="self_repair"))
    lines.append("q0,codeexecution,GPT-4-Turbo-2024-04-09,direct,10,7,0,easy,leetcode,2024-01-01,abc")
    return lines


@pytest.fixture
def folder(tmp_path: Path, rows: list[str]) -> Path:
    return write(tmp_path / "livecodebench", rows)


def build(folder: Path, **options: object):  # type: ignore[no-untyped-def]
    options = {"models": (TURBO, MINI, SONNET), "components": 2, **options}
    return live_code_bench(folder, **options)  # type: ignore[arg-type]


def test_expectation_is_pass_at_n_by_brute_force(folder: Path) -> None:
    world = build(folder)
    for arm, model in itertools.product((1, 2, 4, 8), (TURBO, MINI)):
        k = world.catalog.id(model, "single" if arm == 1 else "best_of_n", arm)
        for query, correct in enumerate(COUNTS[model]):
            pool = [1] * correct + [0] * (10 - correct)
            brute = np.mean([max(subset) for subset in itertools.combinations(pool, arm)])
            assert world.expected.quality[query, k] == pytest.approx(brute, abs=1e-6)


def test_draws_are_prefixes_of_one_permutation_and_average_to_the_expectation(folder: Path) -> None:
    world = build(folder, draws=2000)
    assert not world.simulated
    arms = [world.catalog.id(TURBO, "best_of_n" if n > 1 else "single", n) for n in (1, 2, 4, 8)]
    quality = world.channels.quality[:, :, arms]
    assert (np.diff(quality, axis=2) >= 0).all()
    np.testing.assert_allclose(quality.mean(axis=1), world.expected.quality[:, arms], atol=4 * 0.5 / 2000**0.5)
    other = build(folder, models=(TURBO,), draws=2000)
    assert np.array_equal(other.channels.quality, quality)  # a model's draws do not depend on the others
    assert not np.array_equal(build(folder, models=(TURBO,), draws=2000, seed=1).channels.quality, quality)


def test_halves_split_the_pool_and_are_nan_beyond_it(folder: Path) -> None:
    world = build(folder)
    assert world.halves is not None
    first, second = (half.quality for half in world.halves)
    one, eight = world.catalog.id(TURBO, "single", 1), world.catalog.id(TURBO, "best_of_n", 8)
    np.testing.assert_allclose((first[:, one] + second[:, one]) / 2, np.array(COUNTS[TURBO]) / 10, rtol=1e-6)
    assert np.isnan(first[:, eight]).all()
    four = world.catalog.id(TURBO, "best_of_n", 4)
    assert np.isin(first[:, four], np.array([0, 0.8, 1], np.float32)).all()  # pass@4 of 5 samples


def test_models_are_not_recorded_where_they_were_not_run(folder: Path, tmp_path: Path) -> None:
    world = build(folder)
    sonnet = world.catalog.mask(models=[SONNET])
    assert not world.recorded[5, sonnet].any()
    assert world.recorded.sum() == world.recorded.size - sonnet.sum()
    for table in (*world.channels.present().values(), *world.expected.present().values()):
        assert not table[5][..., sonnet].any()
    save_world(world, tmp_path / "copy")
    copy = load_world(tmp_path / "copy")
    assert copy.provenance == world.provenance
    assert np.array_equal(copy.channels.quality, world.channels.quality)


def test_costs_are_assumed_and_said_to_be(folder: Path) -> None:
    world = build(folder)
    arm = world.catalog.id(TURBO, "best_of_n", 4)
    assert world.expected.tokens is not None
    assert world.expected.dollars is not None
    assert (world.expected.tokens[:, arm] == 2400).all()
    np.testing.assert_allclose(
        world.expected.dollars[:, arm], [100 * (i + 1) * 10e-6 + 2400 * 30e-6 for i in range(6)], rtol=1e-6
    )
    assert world.provenance["assumed"]["channels"] == ["dollars", "tokens"]
    assert world.channels.score is None
    assert world.channels.latency is None


def test_context_is_whitened_components_length_and_bias(folder: Path) -> None:
    context = build(folder).contexts["text"]
    assert context.shape == (6, 4)
    np.testing.assert_allclose(context[:, :3].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose((context[:, :2].T @ context[:, :2]) / 6, np.eye(2), atol=1e-4)
    assert (context[:, 3] == 1).all()


def test_effort_levels_are_arms_from_low_to_high(folder: Path) -> None:
    world = build(folder, models=(TURBO,), efforts=("O4-Mini",), budgets=(1, 4))
    efforts = [arm for arm in world.catalog.arms if arm.method == "effort"]
    assert [arm.budget for arm in efforts] == [(1,), (2,), (3,)]
    assert {arm.model for arm in efforts} == {"O4-Mini"}
    for level, name in ((1, "Low"), (2, "Medium"), (3, "High")):
        k = world.catalog.id("O4-Mini", "effort", level)
        assert world.expected.quality[:, k].tolist() == EFFORT[f"O4-Mini ({name})"]
        assert (world.channels.quality[:, :, k] == world.expected.quality[:, None, k]).all()
    assert world.halves is not None
    assert np.isnan(world.halves[0].quality[:, k]).all()
    assert world.catalog.descriptions[k] == "O4-Mini, one sample with high reasoning effort"
    assert split_effort("O1-2024-12-17 (N=1) (Med)") == ("O1-2024-12-17 (N=1)", "Med")
    assert split_effort("O1-Mini-2024-09-12 (N=1)") is None


def test_missing_data_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UIS_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"no folder was given.*UIS_DATA.*CC BY-SA|CC BY-SA.*UIS_DATA"):
        live_code_bench()
    with pytest.raises(FileNotFoundError, match=r"has no outcomes\.csv\.gz, queries\.csv\.gz, embeddings\.npy"):
        live_code_bench(tmp_path)
    write(tmp_path / "livecodebench", [])
    monkeypatch.setenv("UIS_DATA", str(tmp_path))
    assert find_data(None) == tmp_path / "livecodebench"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (line("q0", TURBO, 10, 11), r"outcomes\.csv\.gz:39: 11 of 10 samples are correct"),
        (line("q0", TURBO, 10, -1), r":39: n_correct is '-1', expected a whole number >= 0"),
        (line("q0", TURBO, 0, 0), r":39: n_samples is '0', expected a whole number >= 1"),
        (line("q0", TURBO, 10, 3), r":39: model 'GPT-4-Turbo-2024-04-09' appears twice on question 'q0'"),
        (line("q9", TURBO, 10, 3), r":39: question_id 'q9' is not in queries"),
        (line("q5", SONNET, 1, 1), r"model 'Claude-3.5-Sonnet-20241022' has 1 to 10 samples"),
        ("q5,codegeneration,x", r":39: too few fields"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: list[str], extra: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(write(tmp_path / "bad", [*rows, extra]))


def test_a_model_under_two_names_is_refused(tmp_path: Path, rows: list[str]) -> None:
    twin = [line(f"q{i}", "Claude-3-Haiku", 10, c) for i, c in enumerate(COUNTS[TURBO])]
    with pytest.raises(ValueError, match="agree everywhere: one model under two names"):
        build(write(tmp_path / "twin", rows + twin), models=(TURBO, "Claude-3-Haiku"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ("Nobody",)}, "model 'Nobody' has no price"),
        ({"models": (TURBO, TURBO)}, "is asked for twice"),
        ({"models": ("DeepSeek-V3",)}, "no single code generation of model 'DeepSeek-V3'"),
        ({"models": (), "efforts": ("O3-Mini-2025-01-31",)}, "no effort level of model 'O3-Mini-2025-01-31'"),
        ({"models": ()}, "both empty"),
        ({"budgets": (1, 16)}, "too few for N = 16"),
        ({"budgets": (2, 1)}, "expected rising numbers"),
        ({"draws": 0}, "draws is 0"),
        ({"components": 50}, "50 components asked for"),
    ],
)
def test_bad_arguments_are_named(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(folder, **options)


def test_damaged_files_are_named(folder: Path) -> None:
    for name in FILES:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            build(folder)
        (folder / name).write_bytes(whole)
    np.save(folder / "embeddings.npy", np.ones((5, 5)))
    with pytest.raises(ValueError, match=r"float64\[5, 5\], expected 6 finite rows"):
        build(folder)
    with gzip.open(folder / "queries.csv.gz", "wt") as file:
        file.write("question_id\nq0\n")
    with pytest.raises(ValueError, match="no column text_chars"):
        build(folder)


@pytest.mark.slow
@pytest.mark.skipif("UIS_DATA" not in os.environ, reason="set UIS_DATA to a folder with livecodebench/")
def test_the_real_results() -> None:
    world = live_code_bench(efforts=("O3-Mini-2025-01-31", "O4-Mini"))
    assert world.channels.quality.shape == (1055, 16, 5 * 4 + 6)
    assert world.recorded.all()
    assert world.catalog.models[:5] == MODELS
    by_n = world.expected.quality.mean(axis=0)[:20].reshape(5, 4)
    assert (np.diff(by_n, axis=1) > 0.005).all()
    np.testing.assert_allclose(by_n[:, 0], [0.3552, 0.2253, 0.3830, 0.4874, 0.3732], atol=1e-4)
    o4 = [world.expected.quality[:, world.catalog.id("O4-Mini", "effort", level)].mean() for level in (1, 2, 3)]
    np.testing.assert_allclose(o4, [0.7773, 0.8284, 0.8322], atol=1e-4)
    assert set(world.groups) == {"easy", "medium", "hard"}


@pytest.mark.skipif("UIS_DATA" not in os.environ, reason="set UIS_DATA to a folder with livecodebench/")
def test_samples_are_in_the_world():
    """One by one, as a decision inside a query reads them: the same quality as the table's, for every arm."""
    world = live_code_bench()
    assert [pool.model for pool in world.pools] == list(world.catalog.models)
    for pool, order in zip(world.pools, world.orders, strict=True):
        rows = np.arange(len(order))[:, None, None]
        for method, n in (("single", 1), ("best_of_n", 4)):
            arm = world.catalog.id(pool.model, method, n)
            right = pool.correct[rows, order[..., :n]].max(axis=-1)
            whole = world.recorded[:, arm]
            assert (pool.whole == whole).all()
            np.testing.assert_array_equal(world.channels.quality[whole][..., arm], right[whole])
        assert np.isnan(pool.score).all() and (pool.tokens[pool.whole] == 600).all()
