from dataclasses import replace

import numpy as np
import pytest

from experiments import statistics
from experiments.analysis import analyse
from uis_env.bandit import Reward


@pytest.fixture(scope="module")
def tiny(tiny_cell):
    return analyse([tiny_cell])[0]


def test_means_per_round(tiny, tiny_cell):
    row, totals = tiny.summary["learner"], tiny_cell.agents["learner"].totals
    assert row.reward == pytest.approx(totals["reward"].mean() / 400)
    assert row.reward_lo < row.reward < row.reward_hi
    assert row.reward_qlo < row.reward_lo and row.reward_hi < row.reward_qhi
    assert row.quality == pytest.approx(totals["quality"].mean() / 400)
    assert row.cost == pytest.approx(totals["dollars"].mean() / 400)
    assert row.optimal_rate == pytest.approx(totals["optimal"].mean() / 400)
    assert row.pilot_cost == 0
    # 24 queries: the first 24 of 400 rounds are fresh
    assert row.reward_fresh * 24 + row.reward_replayed * 376 == pytest.approx(row.reward * 400)
    assert tiny.ranking()[0] == "oracle"


def test_the_pilot_is_charged(tiny, tiny_world, cell_factory):
    charged = analyse([cell_factory(tiny_world, charges={"learner": 20.0})])[0]
    before, after = tiny.summary["learner"], charged.summary["learner"]
    for name in ("reward", "reward_lo", "reward_hi", "reward_qlo", "reward_qhi"):
        assert getattr(after, name) == pytest.approx(getattr(before, name) - 20 / 400)
    assert after.pilot_cost == 10
    assert after.reward_fresh == before.reward_fresh
    assert charged.honesty["learner"].gain == pytest.approx(tiny.honesty["learner"].gain - 20 / 400)
    pair = [a.versus_best_fixed()["learner"].difference for a in (tiny, charged)]
    assert pair[1] == pytest.approx(pair[0] - 20 / 400)


def test_pairs_match_the_statistics(tiny, tiny_cell):
    assert len(tiny.paired) == 6 * 5 // 2
    assert {row.other for row in tiny.paired if "best_fixed" in (row.agent, row.other)} == {"best_fixed"}
    row = tiny.versus_best_fixed()["learner"]
    difference = tiny_cell.mean_reward("learner") - tiny_cell.mean_reward("best_fixed")
    assert row.difference == pytest.approx(difference.mean())
    np.testing.assert_allclose([row.difference_lo, row.difference_hi], statistics.mean_interval(difference))
    assert row.p == statistics.sign_flip(difference)
    assert row.improvement == (difference > 0).mean()
    assert row.difference_qlo < row.difference < row.difference_qhi


def test_the_primary_family_runs_over_all_cells(tiny_world, cell_factory, tiny_cell):
    other = cell_factory(tiny_world, "lost_model", "cheap")
    both = analyse([tiny_cell, other])
    rows = [row for analysis in both for row in analysis.paired]
    primary = [row for row in rows if row.family == "primary"]
    assert sorted({row.agent for row in primary}) == ["learner", "random", "slow", "stubborn"]
    assert len(primary) == 8
    np.testing.assert_allclose([row.p_holm for row in primary], statistics.holm([row.p for row in primary]))
    np.testing.assert_allclose([row.p_holm_all for row in rows], statistics.holm([row.p for row in rows]))
    assert all(np.isnan(row.p_holm) for row in rows if row.family == "exploratory")
    alone = analyse([tiny_cell])[0].versus_best_fixed()["slow"]
    assert alone.p_holm <= both[0].versus_best_fixed()["slow"].p_holm


def test_shares_of_the_gap(tiny, tiny_cell):
    assert tiny.honesty["oracle"].oracle_share == pytest.approx(1)
    assert tiny.honesty["best_fixed"].oracle_share == pytest.approx(0)
    row = tiny.honesty["learner"]
    regret = {name: runs.totals["regret"].mean() for name, runs in tiny_cell.agents.items()}
    assert row.oracle_share == pytest.approx(1 - regret["learner"] / regret["best_fixed"], rel=1e-5)
    assert row.oracle_share_lo < row.oracle_share < row.oracle_share_hi
    assert row.gain == pytest.approx(row.oracle_share * regret["best_fixed"] / 400, rel=1e-5)
    # context is noise on this world, and there is nothing to cross-fit
    assert row.no_signal == 1
    assert np.isnan([row.ceiling_share, row.ceiling_share_lo, row.cross_fitted_gap, row.cross_fitted_share]).all()


def test_a_ceiling_with_signal_is_shared_out(world_factory, cell_factory):
    base = world_factory(queries=60)
    quality = np.full((60, 5), 0.1, np.float32)
    quality[np.arange(60), np.where(base.contexts["plain"][:, 0] > 0, 1, 3)] = 0.9
    halves = (base.expected._replace(quality=quality),) * 2
    world = world_factory(queries=60, expected=base.expected._replace(quality=quality), halves=halves)
    row = analyse([cell_factory(world)])[0].honesty["learner"]
    assert row.no_signal == 0
    assert row.ceiling_share == pytest.approx(row.gain / row.ceiling)
    assert row.ceiling_share_lo == pytest.approx(row.gain_lo / row.ceiling)
    assert row.cross_fitted_share == pytest.approx(row.gain / row.cross_fitted_gap)


def test_one_query_has_a_gap_without_interval_and_so_no_share(world_factory, cell_factory):
    row = analyse([cell_factory(world_factory(queries=1))])[0].honesty["learner"]
    assert np.isnan([row.oracle_gap_lo, row.oracle_share]).all()


def test_stuck_seeds(tiny):
    assert tiny.honesty["stubborn"].stuck == 1
    assert tiny.honesty["best_fixed"].stuck == 0
    assert tiny.honesty["random"].stuck == 0


def test_early_and_late_rounds(tiny_world, cell_factory):
    cell = cell_factory(tiny_world, seeds=3, rounds=2000, bin_rounds=100, charges={"learner": 5.0})
    row = analyse([cell])[0].honesty["learner"]
    curve = cell.agents["learner"].curves["reward"].astype(float)
    assert row.reward_1000 == pytest.approx((curve[:, :10].sum(axis=1).mean() - 5) / 1000)
    assert row.reward_last_quarter == pytest.approx(curve[:, 15:].sum(axis=1).mean() / 500)
    odd = analyse([cell_factory(tiny_world, seeds=3, rounds=2000, bin_rounds=300)])[0].honesty["learner"]
    assert np.isnan(odd.reward_1000)
    whole = analyse([cell_factory(tiny_world, seeds=3, rounds=1000, bin_rounds=70)])[0]  # the last bin holds 20 rounds
    assert whole.honesty["learner"].reward_1000 == pytest.approx(whole.summary["learner"].reward)
    # 7 bins of 300 rounds, the last of them with 200: a quarter is the last bin
    assert 0 < odd.reward_last_quarter < 1


def test_a_mixture_of_fixed_arms_is_matched_by_cost(tiny, tiny_cell):
    hull = np.array(tiny_cell.references["plane"]["hull"])
    for agent in ("random", "stubborn"):
        expected = np.interp(tiny.summary[agent].cost, hull[:, 0], hull[:, 1])
        assert tiny.honesty[agent].mixture_quality == pytest.approx(expected)
    # a fixed arm that is not on the frontier is beaten by a mixture
    assert tiny.honesty["stubborn"].mixture_quality > tiny_cell.references["arms"]["quality"][3]
    assert tiny.honesty["oracle"].mixture_quality < tiny.summary["oracle"].quality


def test_what_a_world_does_not_have_stays_blank(world_factory, cell_factory):

    world = world_factory(without=("dollars", "eflops", "latency"))
    analysis = analyse([cell_factory(world, reward=Reward())])[0]
    row = analysis.summary["learner"]
    assert np.isnan([row.cost, row.cost_median, row.pilot_cost, row.latency, row.latency_p99]).all()
    assert row.tokens > 0
    assert np.isnan(analysis.honesty["learner"].mixture_quality)


def test_one_seed_has_no_interval_over_seeds(tiny_world, cell_factory):
    analysis = analyse([cell_factory(tiny_world, seeds=1)])[0]
    row = analysis.summary["learner"]
    assert np.isnan([row.reward_lo, row.reward_hi]).all()
    assert row.reward_qlo < row.reward < row.reward_qhi
    assert analysis.versus_best_fixed()["learner"].p == 1


def test_without_a_best_fixed_arm_there_is_nothing_to_compare_with(tiny_world, cell_factory):

    cell = cell_factory(tiny_world, seeds=3)
    agents = {name: runs for name, runs in cell.agents.items() if name != "best_fixed"}
    alone = analyse([replace(cell, agents=agents)])[0]
    assert alone.versus_best_fixed() == {}
    row = alone.honesty["learner"]
    assert np.isnan([row.gain, row.oracle_share, row.stuck]).all()
    assert all(np.isnan(row.p_holm) for row in alone.paired)
