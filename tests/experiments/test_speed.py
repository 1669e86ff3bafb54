"""The speed table: the loops by hand are the same algorithms as ours, and what it writes has its shape."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from agents import greedy, linucb, rollout
from agents.handed import make_feedback, make_observation
from experiments.__main__ import main
from experiments.speed import limits, long, loops, peers, post, table
from experiments.speed.clock import Timing, alternate
from experiments.speed.ours import Ours
from experiments.speed.problem import Problem, make_problem
from uis_env.world import Channels


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(arms=12, dim=6, rounds=300, queries=50)


@pytest.mark.parametrize("by_hand", [loops.LinUCB, loops.TunedLinUCB])
def test_the_loop_by_hand_scores_as_our_linucb(problem: Problem, by_hand: type[loops.LinUCB]) -> None:
    agent = linucb(problem.spec, peers.ALPHA, peers.RIDGE, intercept=False)
    learner = by_hand(problem.spec.arms, problem.spec.context, peers.ALPHA, peers.RIDGE, dtype=np.float64)
    bandit = problem.bandit
    query, draw, _ = (part[0] for part in problem.tapes(range(1)))
    act, update = jax.jit(agent.act), jax.jit(agent.update)
    key, state = jax.random.key(0), agent.init(jax.random.key(0))
    for t in range(100):
        x, arm = bandit.context[query[t]], int(t * 7 % problem.spec.arms)
        seen = make_observation(np.int32(t), x, bandit.mask[0, query[t]], bandit.preference[0], bandit.prices[0])
        np.testing.assert_allclose(act(key, state, seen).scores, learner.scores(x), atol=1e-5)
        reward = bandit.reward[0, query[t], draw[t], arm]
        state = update(key, state, make_feedback(seen, arm, reward, reward, Channels(reward)))
        learner.learn(x, arm, reward)


def test_the_gradient_by_hand_is_that_of_the_loss(problem: Problem) -> None:
    model = loops.NeuralLinear(12, 6, 1.0, 0.25, rounds=64)
    random = np.random.default_rng(1)
    model.params = {name: value.astype(np.float64) for name, value in model.params.items()}
    rows = np.arange(64)
    model.contexts = random.standard_normal((64, 6))
    model.actions, model.rewards = random.integers(12, size=64), random.standard_normal(64)

    def loss() -> float:
        z = model.forward(model.contexts)[-1]
        return float((((z @ model.params["heads"])[rows, model.actions] - model.rewards) ** 2).mean())

    gradients = model.gradients(rows)
    for name, value in model.params.items():
        place, step = (0,) * value.ndim, 1e-6
        value[place] += step
        above = loss()
        value[place] -= 2 * step
        below = loss()
        value[place] += step
        np.testing.assert_allclose(gradients[name][place], (above - below) / (2 * step), rtol=1e-4, atol=1e-7)


def test_the_rebuilt_posterior_by_hand_is_that_of_its_rounds(problem: Problem) -> None:
    model = loops.NeuralLinear(12, 6, 1.0, 0.25, rounds=300)
    loops.play(problem, model, 0, int(loops.SCHEDULE["every"]))
    z = model.forward(model.contexts[: model.seen])[-1].astype(np.float64)
    for arm in range(12):
        own = z[model.actions[: model.seen] == arm]
        inverse = np.linalg.inv(0.25 * np.eye(z.shape[1]) + own.T @ own)
        np.testing.assert_allclose(model.model.inverse[arm], inverse, rtol=1e-3, atol=1e-4)


def test_regret_agrees_with_the_loop_by_hand_and_not_with_another_algorithm(problem: Problem) -> None:
    ours = Ours(problem, linucb(problem.spec, peers.ALPHA, peers.RIDGE, intercept=False), seeds=24, threads=2)
    assert ours.run() == 24 * 300
    loop = loops.Loop(problem, lambda seed: peers.BY_HAND["numpy_loop"].make(problem, seed), 300)
    wild = loops.Loop(problem, lambda seed: loops.LinUCB(12, 6, 30.0, 1.0, seed), 300)
    for _ in range(24):
        assert loop.run() == wild.run() == 300
    found = table.agreement(loop, ours)
    assert found["agrees"]
    assert found["seeds"] == 24
    assert 0 < found["ours"] < 300
    assert not table.agreement(wild, ours)["agrees"]


def test_regret_is_that_of_the_first_rounds(problem: Problem) -> None:
    agent = greedy(problem.spec)
    ours = Ours(problem, agent, seeds=4, threads=2)
    ours.run()
    schedules = [problem.schedule] * 2
    plan = ours.plan
    own = rollout.make_seeds(problem.bandit, schedules, range(2), "speed")
    carry = rollout.start(agent, plan.seeds_per_call, problem.tables, own)
    rounds = rollout.make_rounds(plan, schedules, range(2), own.keys, 0)
    trace = rollout.advance(agent, plan, problem.tables, own, carry, rounds, trace=True)[2]
    assert trace is not None
    np.testing.assert_allclose(ours.regret(2, 60), np.asarray(trace.regret)[:, :60].sum(axis=1), rtol=1e-5)


FEW = ("linucb, disjoint", "linucb_shared, concat", "decomposed_linucb, cost", "linucb, disjoint, discount 0.999")
"""Those whose long runs are part of every test run; they take seconds each."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FEW else [pytest.mark.slow]) for name in long.AGENTS]
)
def test_float32_agrees_with_float64_after_100k_rounds(name: str) -> None:
    errors = long.numerics(long.AGENTS[name], make_problem(long.ARMS, long.DIM, collinear=True), 100_000)
    assert max(errors) < 1e-3, errors


def test_medians_and_spread() -> None:
    timing = Timing(100, (1.0, 4.0, 2.0), (0.5, 1.0, 0.25))
    assert (timing.rate, timing.spread, timing.cpu_rate) == (50.0, (25.0, 100.0), 200.0)


def test_cases_take_turns_after_a_warm_up() -> None:
    order: list[str] = []

    def case(name: str) -> int:
        order.append(name)
        return 3

    timings = alternate({"a": lambda: case("a"), "b": lambda: case("b")}, 2)
    assert order == ["a", "b"] * 3
    assert [len(timing.wall) for timing in timings.values()] == [2, 2]


def test_the_floor_is_set_by_what_is_scarcer() -> None:
    def once(rate: float) -> Timing:
        return Timing(1, (1 / rate,), (1 / rate,))

    moved, done = limits.bytes_per_round(60, 32), limits.flops_per_round(60, 32)
    assert (moved, done) == (257_792, 136_704)
    slow_reads = {"read": once(1e3), "product": once(1e9)}
    assert limits.floor(60, 32, slow_reads, 500.0)["share_reached"] == pytest.approx(0.5)
    slow_products = {"read": once(1e9), "product": once(1.0)}
    limit = limits.floor(60, 32, slow_products, 1.0)["rounds_per_second"]
    assert limit == pytest.approx(2 * limits.SIZE**3 / done)


def test_the_floor_of_an_accelerator_is_that_of_all_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(limits, "DEVICE_READS", 3)
    monkeypatch.setattr(limits, "DEVICE_PRODUCTS", 2)
    counts = {name: run() for name, run in limits.cases(12, 4, seeds=5).items()}
    assert counts == {"read": 15, "product": 2}


@pytest.mark.slow
def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "speed.json"
    sizes = ["--rounds", "100", "--seeds", "2", "--arms", "12", "--dim", "4", "--repeats", "1"]
    assert main(["speed", "--peers", "--json", str(path), *sizes]) == 0
    result = json.loads(path.read_text())
    assert {"linucb_disjoint", "linucb_shared", "linear_thompson", "neural_linear", "numpy_loop"} <= set(
        result["rounds_per_second"]
    )
    assert all(rate > 0 for rate in result["rounds_per_second"].values())
    assert set(peers.PEERS) == set(result["missing_peers"]) | (set(result["rounds_per_second"]) & set(peers.PEERS))
    assert result["env_step_over_cartpole"] > 0
    assert result["floor"]["bytes_per_round"] == limits.bytes_per_round(12, 4)
    said = capsys.readouterr().out
    for name in result["missing_peers"]:
        assert f"{name}: {peers.PEERS[name].what}" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--arms", "50"], "--arms: arms is 50, expected a multiple of 12"), (["--rounds", "5"], "--rounds 5")],
)
def test_options_that_do_not_fit_are_named(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", *options]) == 2
    assert said in capsys.readouterr().err


def test_post_processing_is_timed_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert post.command(queries=40, seeds=4, agents=4, path=tmp_path / "post.json") == 0
    found = json.loads((tmp_path / "post.json").read_text())
    assert found["sizes"] == {"agents": 4, "cells": 4, "seeds": 4, "queries": 40}
    seconds = found["seconds"]
    assert seconds.pop("all") == pytest.approx(sum(seconds.values()))
    assert list(seconds) == ["references", "analysis", "tables and page"]
    assert "4 agents × 4 cells × 4 seeds × 40 queries" in capsys.readouterr().out
