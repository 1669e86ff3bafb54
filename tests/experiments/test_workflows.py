"""The comparison of workflow policies: its arithmetic, and a whole one on a small instance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from agents.workflow_policy import Settings
from experiments.config import ConfigError
from experiments.entrants import parse_entries
from experiments.workflows import LEARNED, PLAN, Effort, Instance, Row, command, instances, markdown, rows_of
from uis_env.bandit import Reward
from uis_env.workflow import Workflow
from uis_env.workflow.instances import uncertain_speeds


@pytest.fixture(scope="module")
def instance() -> Instance:
    def flow(queries: range) -> Workflow:
        return Workflow(
            uncertain_speeds(queries=16, draws=8),
            queries=queries,
            **{"steps": 3, "deadline": 9.0, "token_budget": None, "reward": Reward(latency=0.002)},
        )

    return Instance("small", flow(range(8, 16)), flow(range(8)), (9, 1), True)


def test_rows_are_means_and_paired_differences() -> None:
    rng = np.random.default_rng(0)
    best = rng.random(400) + 1
    learned, blind = best - 0.1 * rng.random((2, 400)), best[None] - 0.2 * rng.random(400)
    success = {PLAN: 0.9, LEARNED: 0.8, "blind": 0.7}
    rows = {row.policy: row for row in rows_of({PLAN: best[None], LEARNED: learned, "blind": blind}, success)}
    assert rows[LEARNED].keys == pytest.approx(learned.mean(axis=1))
    assert rows[LEARNED].value == pytest.approx(learned.mean())
    assert (rows[PLAN].share, rows[PLAN].share_error) == pytest.approx((1, 0))
    gap = learned.mean(axis=0) - blind[0]
    assert rows["blind"].lead == pytest.approx(gap.mean())
    assert rows["blind"].lead_error == pytest.approx(stats.t.ppf(0.975, 399) * gap.std(ddof=1) / 20)
    assert rows["blind"].success == 0.7
    # the delta method against the bootstrap
    picks = rng.integers(400, size=(4000, 400))
    shares = blind[0][picks].mean(axis=1) / best[picks].mean(axis=1)
    assert rows["blind"].share_error == pytest.approx(stats.t.ppf(0.975, 399) * shares.std(), rel=0.1)


@pytest.mark.parametrize(
    ("lead", "error", "found"),
    [(0.2, 0.1, "above every step-blind policy"), (0.2, 0.3, "not above greedy"), (-0.2, 0.1, "not above greedy")],
)
def test_the_verdict(instance: Instance, lead: float, error: float, found: str) -> None:
    rows = [
        Row(PLAN, 0.8, 0.01, 0.9, 1.0, 0.0, -0.1, 0.01, [0.8]),
        Row(LEARNED, 0.7, 0.01, 0.9, 0.875, 0.01, 0.0, 0.0, [0.6, 0.8]),
        Row("greedy", 0.5, 0.01, 0.7, 0.625, 0.01, lead, error, [0.5]),
    ]
    text = markdown(instance, rows)
    assert f"learned: 87.5% ± 1.0% of the exact plan; {found}\n" in text
    assert "simulated; adaptivity pays by construction" in text
    assert "| learned | 0.700 ± 0.010 (0.600 to 0.800) | 90.0% |" in text


@pytest.mark.slow
def test_a_whole_comparison(
    instance: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    effort = Effort(300, 2, Settings(hidden=(8,), updates=3, tasks=32), bandit_tasks=50)
    (tmp_path / "workflow_module.py").write_text(
        "from agents import linucb_arm_only\n\n"
        "def make(spec, alpha=1.0):\n    return linucb_arm_only(spec, alpha=alpha)\n"
    )
    monkeypatch.chdir(tmp_path)
    mine = parse_entries(["mine=workflow_module:make,alpha=0.5"])
    assert command(tmp_path, effort=effort, some=[instance], agents=mine) == 0
    page = (tmp_path / "workflows.md").read_text()
    assert page.strip() in capsys.readouterr().out
    found = json.loads((tmp_path / "workflows.json").read_text())
    small = found["instances"]["small"]
    assert small["simulated"] is True and small["by_construction"] is True
    rows = {row["policy"]: row for row in small["rows"]}
    blind = {"mine, blind", "learned, blind", "linucb, blind", "hierarchical_logit_thompson, blind", "prices, blind"}
    assert set(rows) == {PLAN, LEARNED, *blind, "best arm", "uniform split", "greedy"}
    assert [len(rows[name]["keys"]) for name in (PLAN, LEARNED, "linucb, blind", "greedy")] == [1, 2, 2, 1]
    assert all(row["value"] <= rows[PLAN]["value"] + 3 * row["value_error"] for row in rows.values())


def test_training_and_test_queries_are_different() -> None:
    made = list(instances())
    assert [one.by_construction for one in made] == [True, True, True, False]
    for one in made:
        assert one.test.world is one.training.world and one.test.world.simulated
        assert not set(one.test.tables.members.ravel()) & set(one.training.tables.members.ravel())


def test_a_bandit_that_sees_the_outcomes_is_refused(instance: Instance, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agents\[2\] \('oracle'\): 'oracle' sees what no bandit sees"):
        command(tmp_path, effort=Effort(2, 1), some=[instance], agents=parse_entries(["oracle"]))


def test_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--tasks 1 --keys 3: expected 2 tasks and 1 key, or more"):
        command(tmp_path, tasks=1)
