from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main as experiments
from tests.live.scripted import Scripted
from uis_env import UISEnv, load_world
from uis_env.live.__main__ import main
from uis_env.live.build import build
from uis_env.live.config import LiveConfig, load_config
from uis_env.live.recorder import record

CONFIG = """
[endpoints.e]
base_url = "http://127.0.0.1:9/v1"

[models.small]
endpoint = "e"
max_n = 8
params = 1e8
layers = 2
query_heads = 4
kv_heads = 2
head_dim = 8
price = { input = 1.0, cached = 0.5, output = 4.0 }

[queries]
file = "queries.jsonl"
verifier = "numeric"

[record]
direct = 8
"""


def script(body):
    """Query i is answered right in its first i + 1 of 8 samples."""
    i = int(body["messages"][-1]["content"].split()[-3])
    return [(f"{2 * i if s <= i else -s}", -0.1 - 0.1 * s) for s in range(body.get("n", 1))]


def recorded(folder: Path, text: str = CONFIG) -> LiveConfig:
    rows = [{"id": f"q{i}", "question": f"Add {i} + {i}", "answer": str(2 * i)} for i in range(1, 6)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.toml").write_text(text)
    config = load_config(folder / "config.toml")
    record(config, folder / "out", transport=Scripted(script))
    return config


@pytest.mark.filterwarnings("ignore:.*zero throughout")  # five questions do not fill all buckets of words
def test_a_recording_becomes_a_world_that_is_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = recorded(tmp_path)
    assert main(["build", str(config.path), str(tmp_path / "out"), "--out", str(tmp_path / "Own")]) == 0
    command = capsys.readouterr().out.splitlines()[-1].split()
    assert command[:4] == ["python", "-m", "experiments", "run"]
    assert experiments([*command[3:], "--seeds", "2", "--out", str(tmp_path / "run")]) == 0
    assert "best_fixed" in (tmp_path / "run" / "summary.csv").read_text()
    world = load_world(tmp_path / "Own")
    assert not world.simulated
    assert world.channels.latency is None  # the server told no timings
    assert {"score", "dollars", "eflops", "tokens"} <= world.channels.present().keys()
    single = world.catalog.id("small", "single", 1)
    assert np.allclose(world.expected.quality[:, single], [(i + 1) / 8 for i in range(1, 6)])
    best = world.catalog.id("small", "best_of_n", 8)
    assert np.allclose(world.expected.quality[:, best], 1)
    majority = world.catalog.id("small", "majority", 8)
    assert np.allclose(world.expected.quality[:, majority], 1)
    assert world.halves is not None
    assert np.isnan(world.halves[0].quality[:, best]).all()
    env = UISEnv(world, horizon=20)
    env.reset(seed=0)
    assert all(np.isfinite(env.step(arm % len(world.catalog))[1]) for arm in range(20))


def test_the_arms_of_the_config_are_built_where_samples_decide_them(tmp_path: Path) -> None:
    arms = '[[arms]]\nmethods = ["majority", "self_refine"]\nbudgets = [2]\n'
    config = recorded(tmp_path, CONFIG + arms)
    world = build(config, tmp_path / "out")
    assert [arm.name for arm in world.catalog.arms] == ["small/majority-direct@2"]


def test_without_log_probabilities_there_is_no_score(tmp_path: Path) -> None:
    config = recorded(tmp_path, CONFIG.replace("max_n = 8", "max_n = 8\nlogprobs = true"))
    path = tmp_path / "out" / "small.direct.jsonl"
    rows = [json.loads(line) | {"mean_logprob": None} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    world = build(config, tmp_path / "out")
    assert world.channels.score is None
    assert {arm.recipe for arm in world.catalog.arms} == {
        "single-direct",
        "majority-direct",
        "adaptive_consistency-direct",
    }
    assert np.allclose(world.expected.quality[:, 0], [(i + 1) / 8 for i in range(1, 6)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('[[arms]]\nmethods = ["majority"]\nbudgets = [16]\n', "only 8 samples are recorded"),
        ('[[arms]]\nmethods = ["self_refine"]\nbudgets = [1]\n', "independent samples do not decide it"),
    ],
)
def test_arms_that_cannot_be_built_are_named(tmp_path: Path, change: str, message: str) -> None:
    config = recorded(tmp_path, CONFIG + change)
    with pytest.raises(ValueError, match=message):
        build(config, tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'endpoint = "e"',
            'endpoint = "e"\nid = "other"',
            "small.direct was recorded with id = 'small'",
        ),
        (
            "max_n = 8",
            "extra = { top_k = 1 }",
            "recorded with extra = {}, the config has {'top_k': 1}",
        ),
    ],
)
def test_what_decides_the_samples_may_not_change(tmp_path: Path, old: str, new: str, message: str) -> None:
    config = recorded(tmp_path)
    config.path.write_text(CONFIG.replace(old, new))
    for use in (build, lambda config, folder: record(config, folder, resume=True)):
        with pytest.raises(ValueError, match=re.escape(message)):
            use(load_config(config.path), tmp_path / "out")


def test_another_question_is_another_recording(tmp_path: Path) -> None:
    config = recorded(tmp_path)
    path = tmp_path / "queries.jsonl"
    path.write_text(path.read_text().replace("Add 1 + 1", "Sum 1 + 1"))
    with pytest.raises(ValueError, match=r"query 'q1' was recorded as 'Add 1 \+ 1', the config asks 'Sum 1 \+ 1'"):
        build(load_config(config.path), tmp_path / "out")


def test_everything_else_may_change_after_recording(tmp_path: Path) -> None:
    config = recorded(tmp_path)
    before = build(config, tmp_path / "out")
    changed = CONFIG.replace("input = 1.0", "input = 9.0").replace('verifier = "numeric"', 'verifier = "exact"')
    changed += "[reward]\ncost = 3.0\n[[arms]]\nmethods = ['single', 'majority']\nbudgets = [1]\n"
    config.path.write_text(changed)
    path = tmp_path / "queries.jsonl"
    path.write_text(path.read_text().replace('"answer": "2"', '"answer": "-7"'))
    again = build(load_config(config.path), tmp_path / "out")
    assert again.defaults["cost"] == 3.0
    single = again.catalog.id("small", "single", 1)
    assert again.expected.quality[0, single] == 1 / 8  # only sample 7 says -7
    assert again.expected.dollars is not None
    assert before.expected.dollars is not None
    assert (again.expected.dollars[:, single] > before.expected.dollars[:, 0]).all()


def test_more_samples_and_queries_are_asked_for_and_fewer_are_built(tmp_path: Path) -> None:
    config = recorded(tmp_path)
    more = CONFIG.replace("direct = 8", "direct = 12")
    with (tmp_path / "queries.jsonl").open("a") as file:
        file.write(json.dumps({"id": "q6", "question": "Add 6 + 6", "answer": "12"}) + "\n")
    config.path.write_text(more)
    report = record(load_config(config.path), tmp_path / "out", resume=True, transport=Scripted(script))
    assert (report.recorded, report.left) == (6, 0)
    assert build(load_config(config.path), tmp_path / "out").channels.quality.shape[0] == 6
    config.path.write_text(CONFIG.replace("direct = 8", "direct = 4"))
    fewer = build(load_config(config.path), tmp_path / "out")
    assert {arm.budget for arm in fewer.catalog.arms} == {(1,), (2,), (4,)}


def test_holes_are_unrecorded_cells_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = recorded(tmp_path)
    path = tmp_path / "out" / "small.direct.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3] |= {"completion_tokens": None, "hole": "no usage"}
    rows[9] |= {"mean_logprob": None, "hole": "no log-probabilities"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    assert main(["build", str(config.path), str(tmp_path / "out"), "--out", str(tmp_path / "Own")]) == 0
    world = load_world(tmp_path / "Own")
    assert len(world.query_ids) == 2
    printed = capsys.readouterr().err
    for reason in ("missing", "no usage", "no score"):
        assert f"not recorded: 1 cells (query, model, style): {reason}" in printed


def test_one_pool_with_a_hole_leaves_the_other_s_arms(tmp_path: Path) -> None:
    other = CONFIG.replace("[queries]", CONFIG[CONFIG.index("[models") : CONFIG.index("[queries]")] + "[queries]", 1)
    other = other.replace("[models.small]", "[models.large]", 1)
    config = recorded(tmp_path, other)
    path = tmp_path / "out" / "large.direct.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-8]))
    world = build(config, tmp_path / "out")
    large = np.array([arm.model == "large" for arm in world.catalog.arms])
    assert world.recorded.sum() == world.recorded.size - large.sum()
    assert (~world.recorded[:, large]).any(axis=1).sum() == 1
    UISEnv(world, horizon=5).reset(seed=0)


def test_partial_credit_is_the_same_live_and_built(tmp_path: Path) -> None:
    config = recorded(
        tmp_path, CONFIG.replace('"numeric"', '{ kind = "callback", function = "tests.live.graders:half" }')
    )
    assert np.allclose(build(config, tmp_path / "out").expected.quality, 0.5)


def test_the_scorer_of_the_config_scores_the_built_world(tmp_path: Path) -> None:
    """A function that prefers the last sample: best of 8 is right only where all are."""
    config = recorded(tmp_path, CONFIG + '[scorer]\nkind = "callback"\nfunction = "tests.live.graders:negative"\n')
    world = build(config, tmp_path / "out")
    best = world.catalog.id("small", "best_of_n", 8)
    assert np.allclose(world.expected.quality[:, best], 0)
    assert world.expected.score is not None
    assert np.allclose(world.expected.score[:, best], 1)


def test_scores_of_a_model_are_recorded_and_their_price_is_the_arm_s(tmp_path: Path) -> None:
    def judged(body):
        return [("Score: 9", -0.1)] if "Proposed answer" in body["messages"][-1]["content"] else script(body)

    text = CONFIG + '[scorer]\nkind = "judge"\nmodel = "small"\n'
    rows = [{"id": f"q{i}", "question": f"Add {i} + {i}", "answer": str(2 * i)} for i in range(1, 6)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.toml").write_text(text)
    config = load_config(tmp_path / "config.toml")
    record(config, tmp_path / "out", transport=Scripted(judged))
    world = build(config, tmp_path / "out")
    assert world.channels.eflops is None
    assert world.expected.dollars is not None
    single, best = (world.catalog.id("small", *arm) for arm in (("majority", 8), ("best_of_n", 8)))
    assert (world.expected.dollars[:, best] > 2 * world.expected.dollars[:, single]).all()
    assert world.expected.score is not None
    assert np.allclose(world.expected.score[:, best], 0.9)
    (tmp_path / "config.toml").write_text(text.replace('"small"\n', '"small"\nmax_tokens = 9\n', 2))
    other = build(load_config(tmp_path / "config.toml"), tmp_path / "out")
    assert other.channels.score is None
    assert not [arm for arm in other.catalog.arms if "best" in arm.method]


def test_a_pool_without_a_whole_cell_leaves_its_arms_out(tmp_path: Path) -> None:
    other = CONFIG.replace("[queries]", CONFIG[CONFIG.index("[models") : CONFIG.index("[queries]")] + "[queries]", 1)
    config = recorded(tmp_path, other.replace("[models.small]", "[models.large]", 1))
    path = tmp_path / "out" / "large.direct.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    world = build(config, tmp_path / "out")
    assert {arm.model for arm in world.catalog.arms} == {"small"}
    assert "no query has all its samples" in world.provenance["left_out"]["arms"].values()
    path.unlink()
    (tmp_path / "out" / "small.direct.jsonl").unlink()
    with pytest.raises(ValueError, match="no query has all its samples in a form that can be used"):
        build(config, tmp_path / "out")


def test_a_judge_that_no_arm_plays_is_not_recorded_and_its_failures_are_no_scores(tmp_path: Path) -> None:
    def judged(body):
        return "http 404" if "Proposed answer" in body["messages"][-1]["content"] else script(body)

    judge = CONFIG[CONFIG.index("[models") : CONFIG.index("[queries]")].replace("small", "judge", 1)
    arms = '[scorer]\nkind = "judge"\nmodel = "judge"\n'
    arms += '[[arms]]\nmodels = ["small"]\nmethods = ["majority", "best_of_n"]\nbudgets = [2]\n'
    rows = [{"id": f"q{i}", "question": f"Add {i} + {i}", "answer": str(2 * i)} for i in range(1, 4)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.toml").write_text(CONFIG.replace("[queries]", judge + "[queries]") + arms)
    config = load_config(tmp_path / "config.toml")
    record(config, tmp_path / "out", transport=Scripted(judged))
    assert not (tmp_path / "out" / "judge.direct.jsonl").exists()
    world = build(config, tmp_path / "out")
    assert [arm.method for arm in world.catalog.arms] == ["majority"]
