"""From cells to numbers: one row per agent and per pair of agents; tables and report only lay them out.

NaN stands where there is nothing to say: a channel the world does not have, an interval of one seed, a share of a gap
that is not there. Without a best fixed arm in a cell (an agent of that kind), what needs it is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from experiments import statistics
from experiments.components import TwoWay, two_way
from experiments.results import AgentRuns, Array, Cell, CellKey
from experiments.statistics import Estimate

EARLY = 1000
"""Rounds of the early mark."""


class SummaryRow(NamedTuple):
    """An agent in a cell: means per round over seeds; the fields are the columns of `summary.csv`.

    `reward` is charged with the pilot, the other means are of the rounds; `pilot_cost` is that of the whole pilot, in
    the unit of cost: reward = (summed reward − λ·pilot_cost) / rounds. `lo`, `hi` are 95% intervals over seeds, `qlo`,
    `qhi` over seeds and queries. All of these are of the rounds before the hold-out. `holdout` is the lead in the
    hold-out, whose queries no earlier round asks, over the fixed arm that is best on the train queries; its intervals
    likewise. `reward_fresh` is the mean over rounds whose query came for the first time,
    `reward_replayed` over the others. `cost_median`, and `latency_p50`, `_p95` and `_p99` in seconds, are means over
    seeds of each seed's percentiles over rounds.
    """

    world: str
    scenario: str
    preference: str
    agent: str
    seeds: int
    rounds: int
    reward: float
    reward_lo: float
    reward_hi: float
    reward_qlo: float
    reward_qhi: float
    reward_fresh: float
    reward_replayed: float
    regret: float
    regret_lo: float
    regret_hi: float
    quality: float
    cost: float
    cost_median: float
    tokens: float
    latency: float
    latency_p50: float
    latency_p95: float
    latency_p99: float
    pilot_cost: float
    optimal_rate: float
    holdout: float
    holdout_lo: float
    holdout_hi: float
    holdout_qlo: float
    holdout_qhi: float


class PairedRow(NamedTuple):
    """Two agents on the same episodes; the fields are the columns of `paired.csv`.

    `difference` is in mean reward per round (agent minus other, pilots charged), with its interval over seeds (lo, hi)
    and over seeds and queries (qlo, qhi); `improvement` the share of seeds on which the agent does better, ties half;
    `p` the sign-flip test's. The primary family is every agent against the best fixed arm, over all worlds, scenarios
    and preferences of the comparison: `p_holm` is corrected over it, and blank in other rows. `p_holm_all` is corrected
    over all pairs, the exploratory family.
    """

    world: str
    scenario: str
    preference: str
    agent: str
    other: str
    family: str
    seeds: int
    difference: float
    difference_lo: float
    difference_hi: float
    difference_qlo: float
    difference_qhi: float
    improvement: float
    p: float
    p_holm: float
    p_holm_all: float


class HonestyRow(NamedTuple):
    """What keeps a comparison honest, per agent; the fields are the columns of `honesty.csv`.

    - `reward_iqm`: interquartile mean over seeds, with its interval;
    - `reward_1000`: mean reward of the first 1,000 rounds, pilot charged (blank if that is neither a bin's end nor the
      whole run); `reward_last_quarter`: of the last quarter of the rounds;
    - `gain`: expected reward over the best fixed arm of the same rounds (difference of regrets, so the luck of draws
      is out of it; pilot charged), with its interval over seeds;
    - `oracle_gap`: table oracle minus best fixed arm, interval over queries; `oracle_share`: the share of it that the
      agent closes on these tapes, interval over seeds;
    - `cross_fitted_gap`: the same for the cross-fitted oracle, a lower bound; `cross_fitted_share` is gain / gap;
    - `ceiling`: what a policy with full information on other queries gains from the context over the best fixed arm,
      interval over queries; `no_signal` 1 if that includes zero; `ceiling_share` is gain / ceiling, its interval over
      seeds given the ceiling; `ceiling_out`: the same policy's gain over the fixed arm of its own training queries;
    - `mixture_quality`: the quality that tossing coins between fixed arms buys at this agent's cost;
    - `stuck`: the share of seeds that spend more than half of all rounds on one arm while their regret in the last
      quarter is over 1.1 times that of the best fixed arm on the same rounds.

    A share of a gap whose interval includes zero is blank.
    """

    world: str
    scenario: str
    preference: str
    simulated: int
    agent: str
    reward_iqm: float
    reward_iqm_lo: float
    reward_iqm_hi: float
    reward_1000: float
    reward_last_quarter: float
    gain: float
    gain_lo: float
    gain_hi: float
    oracle_gap: float
    oracle_gap_lo: float
    oracle_gap_hi: float
    oracle_share: float
    oracle_share_lo: float
    oracle_share_hi: float
    cross_fitted_gap: float
    cross_fitted_gap_lo: float
    cross_fitted_gap_hi: float
    cross_fitted_share: float
    ceiling: float
    ceiling_lo: float
    ceiling_hi: float
    ceiling_out: float
    ceiling_out_lo: float
    ceiling_out_hi: float
    no_signal: float
    ceiling_share: float
    ceiling_share_lo: float
    ceiling_share_hi: float
    mixture_quality: float
    stuck: float


@dataclass(frozen=True, eq=False)
class Analysis:
    """The numbers of one cell: rows by agent, and every pair once, the best fixed arm always as `other`."""

    cell: Cell
    summary: Mapping[str, SummaryRow]
    honesty: Mapping[str, HonestyRow]
    paired: Sequence[PairedRow]

    @property
    def key(self) -> CellKey:
        """World, scenario, preference."""
        return self.cell.key

    @property
    def simulated(self) -> bool:
        """Whether the world is simulated."""
        return bool(self.cell.references["simulated"])

    def ranking(self) -> list[str]:
        """Agents by mean reward, best first."""
        return sorted(self.summary, key=lambda agent: -self.summary[agent].reward)

    def versus_best_fixed(self) -> dict[str, PairedRow]:
        """The paired comparison of each agent with the best fixed arm."""
        return {row.agent: row for row in self.paired if row.other == self.cell.best_fixed}

    def late_lead(self, agent: str) -> float:
        """Mean lead over the best fixed arm in the last quarter of the rounds, where most queries come again."""
        fixed = self.honesty.get(self.cell.best_fixed or "")
        if fixed is None:
            return float("nan")
        return self.honesty[agent].reward_last_quarter - fixed.reward_last_quarter

    def by_family(self) -> dict[str, Array]:
        """(F,) mean lead over the best fixed arm of each agent on each query family's rounds; NaN if it has none."""
        fixed, place = (
            self.cell.agents.get(self.cell.best_fixed or ""),
            np.array(self.cell.references["families"]["query"]),
        )
        if fixed is None:
            return {}
        count = np.bincount(place, fixed.query_count.sum(axis=0))
        leads = {
            agent: np.sum(runs.query_reward - fixed.query_reward, axis=0, dtype=np.float64)
            for agent, runs in self.cell.agents.items()
            if agent != self.cell.best_fixed
        }
        with np.errstate(invalid="ignore"):
            return {agent: np.bincount(place, lead) / count for agent, lead in leads.items()}


def analyse(cells: Sequence[Cell]) -> list[Analysis]:
    """All numbers of a comparison; the correction for many tests runs over all cells."""
    means = [_two_way(cell) for cell in cells]
    paired = [_pairs(cell, found) for cell, found in zip(cells, means, strict=True)]
    flat = [row for rows in paired for row in rows]
    everything = statistics.holm([row.p for row in flat])
    primary = iter(statistics.holm([row.p for row in flat if row.family == "primary"]))
    corrected = iter(
        row._replace(p_holm_all=float(p), p_holm=float(next(primary)) if row.family == "primary" else np.nan)
        for row, p in zip(flat, everything, strict=True)
    )
    return [
        Analysis(
            cell=cell,
            summary=_summary(cell, found),
            honesty=_honesty(cell),
            paired=[next(corrected) for _ in rows],
        )
        for cell, found, rows in zip(cells, means, paired, strict=True)
    ]


def _summary(cell: Cell, found: TwoWay) -> dict[str, SummaryRow]:
    present = cell.references["channels"]
    priced = cell.references["cost_channel"] is not None
    both = found.intervals()
    rows = {}
    for i, (agent, runs) in enumerate(cell.agents.items()):
        totals, reward = runs.totals, cell.mean_reward(agent)

        def mean(name: str, there: bool = True, totals: Mapping[str, Array] = totals) -> float:
            return float(totals[name].mean() / cell.rounds) if there else np.nan

        def of_seeds(name: str, there: bool = "latency" in present, totals: Mapping[str, Array] = totals) -> float:
            return float(totals[name].mean()) if there else np.nan

        fresh, rounds = totals["fresh"].sum(), cell.rounds * len(cell.seeds)
        fresh_reward, all_reward = totals["fresh_reward"].sum(), totals["reward"].sum()
        low, high = statistics.mean_interval(reward)
        regret_low, regret_high = statistics.mean_interval(totals["regret"] / cell.rounds)
        rows[agent] = SummaryRow(
            *cell.key,
            agent=agent,
            seeds=len(cell.seeds),
            rounds=cell.rounds,
            reward=float(reward.mean()),
            reward_lo=float(low),
            reward_hi=float(high),
            reward_qlo=float(both[0, i]),
            reward_qhi=float(both[1, i]),
            reward_fresh=float(fresh_reward / fresh) if fresh else np.nan,
            reward_replayed=float((all_reward - fresh_reward) / (rounds - fresh)) if fresh < rounds else np.nan,
            regret=mean("regret"),
            regret_lo=float(regret_low),
            regret_hi=float(regret_high),
            quality=mean("quality"),
            cost=mean("cost", priced),
            cost_median=float(totals["cost_median"].mean()) if priced else np.nan,
            tokens=mean("tokens", "tokens" in present),
            latency=mean("latency", "latency" in present),
            latency_p50=of_seeds("latency_p50"),
            latency_p95=of_seeds("latency_p95"),
            latency_p99=of_seeds("latency_p99"),
            pilot_cost=float(totals["pilot_cost"].mean()) if priced else np.nan,
            optimal_rate=mean("optimal"),
            **_holdout(cell, runs),  # type: ignore[arg-type]
        )
    return rows


def _holdout(cell: Cell, runs: AgentRuns) -> dict[str, float]:
    """The lead over the fixed arm of the train queries in the hold-out, and its intervals; NaN without one."""
    names = ("holdout", "holdout_lo", "holdout_hi", "holdout_qlo", "holdout_qhi")
    if runs.holdout_reward is None or runs.holdout_count is None or cell.holdout_fixed is None:
        return dict.fromkeys(names, np.nan)
    lead, count = runs.holdout_reward - cell.holdout_fixed, runs.holdout_count
    by_seed = lead.sum(axis=1) / count.sum(axis=1)
    ends = (*statistics.mean_interval(by_seed), *two_way(lead[None], count).intervals()[:, 0])
    return dict(zip(names, (float(by_seed.mean()), *map(float, ends)), strict=True))


def _two_way(cell: Cell) -> TwoWay:
    """Mean rewards over seeds and queries, pilots charged: a seed's charge is spread evenly over its rounds."""
    runs = list(cell.agents.values())
    count = runs[0].query_count
    charge = np.stack([run.totals["pilot_charge"] for run in runs])[..., None] / cell.rounds
    return two_way(np.stack([run.query_reward for run in runs]) - charge * count, count)


def _pairs(cell: Cell, found: TwoWay) -> list[PairedRow]:
    """Every pair of agents once, not yet corrected."""
    agents = list(cell.agents)
    pairs = [(i, j) if agents[i] != cell.best_fixed else (j, i) for i, j in combinations(range(len(agents)), 2)]
    if not pairs:
        return []
    first, second = np.array(pairs).T
    reward = np.stack([cell.mean_reward(agent) for agent in agents], axis=1)
    difference = reward[:, first] - reward[:, second]
    low, high = statistics.mean_interval(difference)
    query_low, query_high = found.interval(np.eye(len(agents))[first] - np.eye(len(agents))[second])
    p, better = statistics.sign_flip(difference), statistics.improvement(difference)
    return [
        PairedRow(
            *cell.key,
            agent=agents[i],
            other=agents[j],
            family="primary" if agents[j] == cell.best_fixed and cell.role(agents[i]) != "reference" else "exploratory",
            seeds=len(cell.seeds),
            difference=float(difference[:, n].mean()),
            difference_lo=float(low[n]),
            difference_hi=float(high[n]),
            difference_qlo=float(query_low[n]),
            difference_qhi=float(query_high[n]),
            improvement=float(better[n]),
            p=float(p[n]),
            p_holm=np.nan,
            p_holm_all=np.nan,
        )
        for n, (i, j) in enumerate(pairs)
    ]


def _honesty(cell: Cell) -> dict[str, HonestyRow]:
    known = cell.references
    fixed = cell.agents.get(cell.best_fixed or "")
    gap, ceiling = _value(known["gap"]), _value(known["ceiling"])
    outside = _value(known["ceiling"] and known["ceiling"]["out_of_sample"])
    cross = _value(known["cross_fitted"] and known["cross_fitted"]["gap"])
    hull = np.array((known["plane"] or {}).get("hull", [[np.nan, np.nan]]))
    rows = {}
    for agent, runs in cell.agents.items():
        reward = cell.mean_reward(agent)
        gain = base = np.full(len(cell.seeds), np.nan)
        if fixed is not None:
            base = fixed.totals["regret"] / cell.rounds
            gain = base - (runs.totals["regret"] + runs.totals["pilot_charge"]) / cell.rounds
        gain_low, gain_high = statistics.mean_interval(gain)
        share = statistics.ratio(gain, base) if gap.low > 0 else _NOTHING
        iqm_low, iqm_high = statistics.interquartile_interval(reward)
        given = ceiling.value if ceiling.low > 0 else np.nan
        rows[agent] = HonestyRow(
            *cell.key,
            simulated=int(bool(known["simulated"])),
            agent=agent,
            reward_iqm=float(statistics.interquartile_mean(reward)),
            reward_iqm_lo=float(iqm_low),
            reward_iqm_hi=float(iqm_high),
            reward_1000=_early(cell, runs),
            reward_last_quarter=float(_last_quarter(cell, runs.curves["reward"]).mean()),
            gain=float(gain.mean()),
            gain_lo=float(gain_low),
            gain_hi=float(gain_high),
            oracle_gap=gap.value,
            oracle_gap_lo=gap.low,
            oracle_gap_hi=gap.high,
            oracle_share=share.value,
            oracle_share_lo=share.low,
            oracle_share_hi=share.high,
            cross_fitted_gap=cross.value,
            cross_fitted_gap_lo=cross.low,
            cross_fitted_gap_hi=cross.high,
            cross_fitted_share=float(gain.mean() / cross.value) if cross.low > 0 else np.nan,
            ceiling=ceiling.value,
            ceiling_lo=ceiling.low,
            ceiling_hi=ceiling.high,
            ceiling_out=outside.value,
            ceiling_out_lo=outside.low,
            ceiling_out_hi=outside.high,
            no_signal=float(known["ceiling"]["no_signal"]) if known["ceiling"] else np.nan,
            ceiling_share=float(gain.mean() / given),
            ceiling_share_lo=float(gain_low / given),
            ceiling_share_hi=float(gain_high / given),
            mixture_quality=float(np.interp(runs.totals["cost"].mean() / cell.rounds, *hull.T)),
            stuck=_stuck(cell, runs, fixed),
        )
    return rows


_NOTHING = Estimate(np.nan, np.nan, np.nan)


def _value(data: Mapping[str, Any] | None) -> Estimate:
    """A value of the references with its interval; NaN where there is none."""
    if data is None:
        return _NOTHING
    return Estimate(*(np.nan if data[name] is None else float(data[name]) for name in Estimate._fields))


def _early(cell: Cell, runs: AgentRuns) -> float:
    bins, rest = divmod(EARLY, cell.bin_rounds)
    if cell.rounds == EARLY:
        bins = runs.curves["reward"].shape[1]
    elif rest or cell.rounds < EARLY:
        return float("nan")
    reward = runs.curves["reward"][:, :bins].sum(axis=1, dtype=np.float64) - runs.totals["pilot_charge"]
    return float(reward.mean() / EARLY)


def _last_quarter(cell: Cell, curve: Array) -> Array:
    """(S,) mean per round of a curve over the last quarter of its bins (at least one)."""
    bins = max(1, curve.shape[1] // 4)
    rounds = cell.rounds - (curve.shape[1] - bins) * cell.bin_rounds
    return np.asarray(curve[:, -bins:].sum(axis=1, dtype=np.float64) / rounds)


def _stuck(cell: Cell, runs: AgentRuns, fixed: AgentRuns | None) -> float:
    if fixed is None:
        return float("nan")
    one_arm = runs.arm_count.max(axis=1) * 2 > cell.rounds
    worse = _last_quarter(cell, runs.curves["regret"]) > 1.1 * _last_quarter(cell, fixed.curves["regret"])
    return float((one_arm & worse).mean())
