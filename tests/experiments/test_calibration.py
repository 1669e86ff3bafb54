"""The probe's calibration on held-out simulated queries, and the page that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agents.probe import reliability
from experiments.calibration import REQUIRED, bins, command, measure, simulated, told
from experiments.config import ConfigError


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("dataset", ["math500", "numina"])
def test_the_probe_is_calibrated_on_held_out_queries(dataset: str, seed: int) -> None:
    diagram = measure(dataset, seed)
    assert diagram.error < REQUIRED
    assert (diagram.outcomes > 100).sum() >= 5  # it says different things of different queries


def test_fresh_queries_have_what_the_probe_needs() -> None:
    data = simulated("numina", 3, 40)
    assert data.context.shape == (40, 32) and data.quality.shape == (40, 4, 22)
    log = data.full(slice(5, 15))
    np.testing.assert_array_equal(log.channels.quality, data.quality[5:15, 0])
    np.testing.assert_array_equal(log.context, data.context[5:15])
    assert not np.array_equal(data.context, simulated("numina", 4, 40).context)
    assert not np.array_equal(data.context, simulated("math500", 3, 40).context)


def test_the_command_writes_errors_and_diagrams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, seeds=1, training=40, held_out=30) == 0
    printed = " ".join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / "calibration.json").read_text())
    assert found["simulated"] is True
    for dataset in ("math500", "numina"):
        [rows], [error] = (np.array(found[name][dataset]) for name in ("bins", "expected_calibration_error"))
        assert rows[:, 0].sum() == 30 * 22
        assert error == pytest.approx((rows[:, 0] @ np.abs(rows[:, 1] - rows[:, 2])) / rows[:, 0].sum())
        assert f"{dataset} (simulated): expected calibration error {error:.3f}" in printed
    text = (tmp_path / "calibration.html").read_text()
    assert text.count("<svg") == 2 and "as predicted" in text and "simulated" in text


def test_a_line_says_whether_it_is_enough() -> None:
    good, bad = reliability([0.2, 0.8], [0.2, 0.8]), reliability([0.2, 0.8], [0.3, 0.7])
    assert told([good, good]).endswith("yes") and told([good, bad]).endswith("no")
    assert "0.050 (0.000 to 0.100 over 2 seeds)" in told([good, bad])
    np.testing.assert_allclose(bins(bad), [[1, 0.2, 0.3], [1, 0.8, 0.7]])


def test_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 seeds, 2000 and 2000 queries: expected 1 seed and 10 queries, or more"):
        command(tmp_path, seeds=0)
