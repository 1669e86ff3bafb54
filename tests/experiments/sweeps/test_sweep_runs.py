"""Sweeps are played as each preference alone would be, by one program per agent, in units that resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.config import ConfigError
from experiments.player import Player, Progress
from experiments.runner import Runner
from experiments.store import Unit


def test_one_program_and_one_file_for_all_preferences(small):
    root, runner, sweep = small
    assert len(runner.player._compiled) == 2  # one per agent
    assert sorted(path.name for path in root.glob("units/small/stationary/sweep/*")) == [
        "arm_only-0.npz", "arm_only-1.npz", "probe-0.npz", "probe-1.npz",
    ]  # fmt: skip
    assert sweep.agents["arm_only"].action.shape == (3, 12, 24)
    assert sweep.agents["arm_only"].believed is None
    assert sweep.agents["probe"].believed.shape == (3, 24, 22)


def test_all_seeds_ask_the_questions_that_the_pilot_leaves_once(small):
    _, _, sweep = small
    game = sweep.game
    assert len(game.training) == 16 and not set(game.training) & set(game.questions)
    tape = game.tape(sweep.seeds)
    assert (np.sort(tape.query, axis=1) == game.questions).all()
    assert (game.pilot([0, 1])[0] == game.training).all()
    quality = game.world.expected.quality.mean(axis=1)
    assert abs(quality[game.training].mean() - quality[game.questions].mean()) < 0.1
    rehearsed = game.rehearsal([0, 1], 100)
    assert set(np.unique(rehearsed.query)) <= set(game.training) and len(np.unique(rehearsed.phase)) == 12


def test_a_sweep_is_every_preference_played_alone(sweep_config, tmp_path):
    """The same seeds and questions through the driver of comparisons, preference by preference."""
    config = sweep_config(
        pilot=0, rounds=40, agents=[{"name": "arm_only", "kind": "linucb_arm_only", "seeds_per_call": 4}]
    )
    [sweep] = Runner(config, tmp_path / "sweep", workers=1).run(Progress())
    chosen = [config.swept[0], config.swept[7], config.swept[11]]
    names = [preference.name for preference in chosen]
    plain = sweep_config(
        pilot=0, rounds=40, agents=[{"name": "arm_only", "kind": "linucb_arm_only"}], sweeps=[],
        preferences=[{"name": p.name, "tokens": p.tokens, "latency": p.latency} for p in chosen],
    )  # fmt: skip
    for cell in Runner(plain, tmp_path / "plain", workers=1).run(Progress()):
        place = [0, 7, 11][names.index(cell.key.preference)]
        action = sweep.agents["arm_only"].action[:, place]
        counted = np.stack([np.bincount(own, minlength=22) for own in action])
        np.testing.assert_array_equal(cell.agents["arm_only"].arm_count, counted)
        quality = sweep.policies["arm_only"].arm[:, :, place]
        assert quality.shape == (40, 3)


def test_a_unit_that_is_lost_is_played_again_to_the_same_bytes(sweep_config, small):
    root, runner, _ = small
    unit = Unit(runner.games[0][0], "arm_only", 1)
    whole = (root / unit.path).read_bytes()
    (root / unit.path).unlink()
    Runner(sweep_config(), root, workers=1).run(Progress())
    assert (root / unit.path).read_bytes() == whole


@pytest.mark.slow
def test_units_do_not_depend_on_the_number_of_devices(small, sweep_config, tmp_path):
    root, _, _ = small
    path = tmp_path / "small.json"
    path.write_text(json.dumps(sweep_config().to_json()))
    code = (
        "import json, sys; from pathlib import Path; import jax; from experiments.config import parse_config;"
        "from experiments.runner import *; assert len(jax.devices()) == 2;"
        "config = parse_config(json.loads(Path(sys.argv[1]).read_text()), 'small');"
        "Runner(config, Path(sys.argv[2]), workers=1).run(Progress())"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(Path.cwd())}
    out = tmp_path / "out"
    subprocess.run([sys.executable, "-c", code, str(path), str(out)], check=True, env=os.environ | flags)
    units = sorted(path.relative_to(root) for path in root.glob("units/**/*.npz"))
    assert len(units) == 4
    for unit in units:
        assert (out / unit).read_bytes() == (root / unit).read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 30}, "rounds: 30, expected 24 in small: every seed asks each question that the pilot leaves once"),
        ({"pilot": 40}, "pilot: 40 queries of 40 would leave none"),
        ({"agents": [{"name": "oracle"}]}, r"agents\[0\] \('oracle'\): a sweep has its references from the tables"),
        ({"sweeps": [{"score": [0.0, 0.1]}]}, "sweeps on world 'small': phase 1: .* has no score"),
    ],
)
def test_what_cannot_be_swept_is_refused(sweep_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        player = Player(sweep_config(**changes))
        player.games[0][1]()
