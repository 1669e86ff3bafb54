"""Charts draw what they are given, in text that a browser can read."""

import re

import numpy as np
import pytest

from experiments.charts import Line, bars, chart, log_ticks, stacked, ticks


def test_charts_draw_what_they_are_given():
    x = np.array([1.0, 10.0, 100.0])
    svg = chart([Line("a & b", x, x, x - 1, x + 1)], "rounds", "regret", log_x=True, marks=[(10, "change")], dots=True)
    points = re.search(r'<polyline points="([^"]+)"', svg).group(1).split()
    across, up = np.array([point.split(",") for point in points], float).T
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.11)
    assert (up[2] - up[0]) / (up[1] - up[0]) == pytest.approx(99 / 9, rel=0.05)
    assert "a &amp; b" in svg and "change" in svg and "<circle" in svg
    gap = chart([Line("a", x, np.array([1.0, np.nan, 2.0]))], "rounds", "regret")
    assert "nan" not in gap
    with pytest.raises(ValueError, match="nothing to draw in the chart of regret"):
        chart([Line("a", x, np.full(3, np.nan))], "rounds", "regret")


@pytest.mark.parametrize("ends", [(0, 1), (-3.2, 7.9), (0.001, 0.0012), (5, 5), (-1e5, 1e6)])
def test_ticks_are_few_round_numbers_that_span_the_data(ends):
    marks = ticks(*ends)
    assert 1 <= len(marks) <= 9
    assert marks[0] <= ends[0] + 1e-12 and marks[-1] >= ends[1] - 1e-12
    assert log_ticks(1, 100) == [1, 2, 5, 10, 20, 50, 100]


def test_decades_alone_are_marked_where_there_are_many():
    assert log_ticks(1e-7, 1e-1) == pytest.approx([1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])


def test_dots_stand_alone_with_whiskers():
    x = np.array([1.0, 2.0, 3.0])
    svg = chart([Line("a", x, x, x - 1, x + 1, joined=False)], "x", "y")
    assert svg.count("<circle") == 3 and "<polyline" not in svg
    whiskers = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)" y2="([\d.]+)" stroke', svg)
    assert len(whiskers) == 3 and all(a == b and float(low) > float(high) for a, b, low, high in whiskers)


def test_stacked_shares_fill_the_whole_height():
    x = np.geomspace(1e-5, 1e-1, 5)
    share = np.linspace(0, 1, 5)
    svg = stacked(x, [("few", share), ("many", 1 - share)], "price", "share")
    below, above = (
        np.array([point.split(",") for point in points.split()], float)
        for points in re.findall(r'points="([^"]+)"', svg)
    )
    top, floor = above[:5, 1], below[5:, 1]
    assert np.ptp(top) == pytest.approx(0) and np.ptp(floor) == pytest.approx(0)
    np.testing.assert_allclose(below[:5, 1], above[5:, 1][::-1])
    assert (floor[0] - below[:5, 1]) / (floor[0] - top[0]) == pytest.approx(share, abs=0.01)
    assert "few" in svg and "many" in svg


def test_bars_are_as_high_as_their_values():
    svg = bars([("a <b>", [2.0, 1.0]), ("c", [4.0, 0.0])], ["mean", "p95"], "seconds")
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', svg)]
    assert heights[2] == pytest.approx(2 * heights[0], abs=0.2) and heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[3] == 0 and "a &lt;b&gt;" in svg
