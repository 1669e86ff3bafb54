import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from uis_env.bandit import Reward
from uis_env.world import World
from uis_env.worlds.tree_search import COST_SENSITIVE, QUALITY_PRIORITY, tree_search
from uis_env.worlds.tree_search import world as module
from uis_env.worlds.tree_search.calibrate import Row, area_under_curve, calibration, cross_validated_r2, main, markdown
from uis_env.worlds.tree_search.fits import FITS, GROUPS, model_cards
from uis_env.worlds.tree_search.world import make_catalog, simulate


@pytest.fixture(scope="module")
def small() -> World:
    return simulate(FITS["A"], (1, 2), 4, 0, None, {"fit": "A"})


def test_world_is_whole_and_labelled_simulated(small: World) -> None:
    assert small.simulated
    assert small.channels.quality.shape == (210, 4, 6 * 2 * 2 * 3)
    assert [small.groups.count(group) for group in GROUPS] == [30] * 5 + [60]
    assert set(small.channels.present()) == {"quality", "score", "eflops", "tokens"}
    assert np.isin(small.channels.quality, (0, 1)).all()
    assert small.channels.score is not None
    assert ((small.channels.score > 0) & (small.channels.score < 1)).all()
    assert small.recorded.all()
    assert "simulated" in small.provenance["source"]
    json.dumps(small.provenance)
    for settings in (COST_SENSITIVE, QUALITY_PRIORITY):
        reward = Reward(**settings)
        assert reward.offset == reward.cost
        assert reward.quality + reward.score + reward.cost == pytest.approx(1)


def test_expectation_is_the_mean_over_draws_and_of_the_halves(small: World) -> None:
    assert small.halves is not None
    for name, array in small.channels.present().items():
        expected = getattr(small.expected, name)
        np.testing.assert_allclose(expected, array.mean(axis=1, dtype=float), rtol=1e-6)
        halves = [getattr(half, name) for half in small.halves]
        np.testing.assert_allclose(halves[0], array[:, :2].mean(axis=1, dtype=float), rtol=1e-6)
        np.testing.assert_allclose((halves[0] + halves[1]) / 2, expected, rtol=1e-5)
    assert small.expected.eflops is not None
    means = small.expected.eflops.mean(axis=0)
    np.testing.assert_allclose(small.cost_ends["eflops"], (means.min(), means.max()), rtol=1e-5)


def test_arms_land_in_their_columns(small: World) -> None:
    assert small.expected.tokens is not None
    tokens = small.expected.tokens.mean(axis=0)
    for card in model_cards():
        one = tokens[small.catalog.id(card.name, "tree_search", (1, 1, 1))]
        for budget in ((2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 4), (2, 2, 4)):
            ratio = tokens[small.catalog.id(card.name, "tree_search", budget)] / one
            assert ratio == pytest.approx(np.prod(budget), rel=0.06)
    quality = small.expected.quality.mean(axis=0)
    assert (
        quality[small.catalog.mask(models=["qwen3-32b"])].min()
        > quality[small.catalog.mask(models=["qwen3-0.6b"])].max()
    )
    # The first sub-tree of QP = 2 is QP = 1 of the same draw, so its V can only rise.
    assert small.channels.score is not None
    first, second = (small.catalog.mask(budgets=[(qp, 2, 2)]) for qp in (1, 2))
    assert (small.channels.score[:, :, second] >= small.channels.score[:, :, first]).all()


def test_a_finer_grid_holds_the_coarse_one(small: World) -> None:
    fine = simulate(FITS["A"], (1, 2, 3), 4, 0, None, {})
    shared = [fine.catalog.arms.index(arm) for arm in small.catalog.arms]
    for name, array in small.channels.present().items():
        assert np.array_equal(getattr(fine.channels, name)[:, :, shared], array)


@pytest.mark.parametrize(("grid", "count"), [("powers", 288), ("integers", 1152)])
def test_catalog_has_the_papers_grid(grid: str, count: int) -> None:
    catalog = make_catalog(model_cards(), module.GRIDS[grid], early_exit=True)
    assert len(catalog) == count
    assert len(set(catalog.descriptions)) == count
    names = list(catalog.feature_names)
    parts = [[n for n in names if n.startswith(part)] for part in ("model=", "QP=", "CP=", "BS=")]
    for part in parts:
        assert (catalog.features[:, [names.index(n) for n in part]].sum(axis=1) == 1).all()
    arm = catalog.id("qwen3-8b", "tree_search", (4, 2, 1))
    assert catalog.features[arm, names.index("log2_QP")] == pytest.approx(2 / 3)
    assert catalog.features[arm, names.index("log2_BS")] == 0
    assert catalog.features[:, names.index("log_params")].max() == 1
    assert catalog.descriptions[arm] == (
        "qwen3-8b, 8.2 billion parameters; tree search guided by a process reward model: "
        "4 sub-trees, 2 candidates per step, beam of 1 path, with early exit"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fit": "C"}, "fit is 'C', expected one of A, B"),
        ({"grid": "all"}, "grid is 'all', expected one of powers, integers"),
        ({"draws": 0}, "draws is 0, expected an even number"),
        ({"draws": 3}, "draws is 3, expected an even number"),
        ({"early_exit": True, "v_sup": 0.0}, "v_sup is 0.0, expected a number in"),
        ({"early_exit": True, "v_sup": float("nan")}, "v_sup is nan, expected a number in"),
        ({"v_sup": 0.7}, "without early_exit"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tree_search(**arguments)  # type: ignore[arg-type]


def test_builder_simulates_at_most_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIS_CACHE", str(tmp_path))
    calls = []

    def spy(fit, sizes, draws, seed, v_sup, settings):  # type: ignore[no-untyped-def]
        calls.append((seed, v_sup))
        return simulate(fit, (1,), draws, seed, v_sup, settings)

    monkeypatch.setattr(module, "simulate", spy)
    first = tree_search("B", draws=2)
    again = tree_search("B", draws=2)
    assert calls == [(FITS["B"].seed, None)]
    for name, array in first.channels.present().items():
        assert np.array_equal(array, getattr(again.channels, name))
    assert first.provenance == again.provenance
    assert first.defaults == again.defaults
    tree_search("B", draws=2, early_exit=True)
    tree_search("B", draws=2, early_exit=True, v_sup=FITS["B"].v_sup)
    tree_search("B", draws=2, early_exit=True, v_sup=0.5)
    tree_search("B", draws=2, seed=9)
    tree_search("B", draws=2, cache=False)
    seed = FITS["B"].seed
    assert calls[1:] == [(seed, FITS["B"].v_sup), (seed, 0.5), (9, None), (seed, None)]
    assert len(list(tmp_path.iterdir())) == 4


def test_changed_parameters_change_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIS_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "GRIDS", {"powers": (1,)})
    tree_search("A", draws=2)
    monkeypatch.setattr(module, "FITS", {"A": dataclasses.replace(FITS["A"], gap=3.0)})
    tree_search("A", draws=2)
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    tree_search("A", draws=2)
    assert len(list(tmp_path.glob("*/world.npz"))) == 3


def test_estimators_of_the_report() -> None:
    rng = np.random.default_rng(0)
    score, right = rng.random(500), rng.random(500) < 0.3
    pairs = [(score[i] > score[j]) for i in np.flatnonzero(right) for j in np.flatnonzero(~right)]
    assert area_under_curve(score, right) == pytest.approx(np.mean(pairs))
    x = rng.standard_normal((200, 3))
    assert cross_validated_r2(x, x @ [1.0, 2.0, 3.0] + 4) == pytest.approx(1)
    assert cross_validated_r2(x, rng.standard_normal(200)) < 0.05


def test_report_says_what_is_not_met() -> None:
    rows = [Row("a", "1", "< 2", 3.0, 0.5, np.bool_(False)), Row("b", "", "", 1.0)]  # type: ignore[arg-type]
    text = markdown({"A": rows, "B": [Row("a", "1", "< 2", 1.0, None, True), Row("b", "", "", 1.0)]})
    assert "| a | 1 | < 2 | 3.00 ± 0.50 | **no** | 1.00 | yes |" in text
    assert "Fit A: 0 of 1 criteria met." in text
    assert "Fit B: 1 of 1 criteria met." in text


@pytest.mark.slow
def test_both_fits_meet_every_criterion(tmp_path: Path) -> None:
    main(["--out", str(tmp_path)])
    data = json.loads((tmp_path / "calibration.json").read_text())
    for fit in FITS:
        judged = [row for row in data["rows"][fit] if row["met"] is not None]
        assert len(judged) >= 20
        assert [row["target"] for row in judged if not row["met"]] == []
    assert "simulated" in (tmp_path / "calibration.md").read_text()
    assert [dataclasses.asdict(row) for row in calibration("A")] == data["rows"]["A"]
