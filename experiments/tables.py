"""Tables: `summary.csv`, `paired.csv` and `honesty.csv` of a run, and the ranked table that a terminal shows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.table import Table
from rich.text import Text

from experiments.analysis import Analysis, HonestyRow, PairedRow, SummaryRow
from experiments.results import PERCENTILES
from experiments.statistics import few_seeds
from uis_env.files import atomic_write


class Unit(NamedTuple):
    """How a cost is shown to people: a label, and what the number is multiplied by. Files keep the channel's unit."""

    label: str
    factor: float


UNITS = {"dollars": Unit("USD/1k", 1000.0), "eflops": Unit("TFLOP", 1.0)}
"""Per round; dollars per thousand queries."""


def write_tables(root: Path, analyses: Sequence[Analysis]) -> None:
    """Writes the three files below `root`, each atomically; the same numbers give the same bytes."""
    files: tuple[tuple[str, type[NamedTuple], Iterable[NamedTuple]], ...] = (
        ("summary.csv", SummaryRow, (row for cell in analyses for row in cell.summary.values())),
        ("paired.csv", PairedRow, (row for cell in analyses for row in cell.paired)),
        ("honesty.csv", HonestyRow, (row for cell in analyses for row in cell.honesty.values())),
    )
    for name, kind, rows in files:
        atomic_write(root / name, to_csv(kind._fields, rows).encode())


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV with numbers to six significant digits; NaN is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return text.getvalue()


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value + 0.0:.6g}"
    return str(value)


def ranked_table(analysis: Analysis, width: int = 80) -> Table:
    """The agents of a cell by mean reward, for a terminal of `width` columns; narrow ones lose columns from the right.

    Reward is per round, with half the width of its interval over seeds; the paired difference to the best fixed arm
    stands in bold where its Holm-corrected p is below .05; "hold-out" is the lead in the hold-out, in bold where its
    interval over seeds and queries leaves out zero; "of gap" is the share of the gap from the best fixed
    arm to the table's oracle; then percentiles of a round's seconds, where the world has them. References, which see
    what no agent sees, are in italics.
    """
    cell = analysis.cell
    unit = UNITS.get(cell.references["cost_channel"] or "")
    versus = analysis.versus_best_fixed()
    seconds = ["p50 s", "p95 s", "p99 s"] if "latency" in cell.references["channels"] else []
    held = ["hold-out"] if any(not math.isnan(row.holdout) for row in analysis.summary.values()) else []
    priced = [unit.label] if unit else []
    header = ["", "agent", "reward", "vs best fixed", *held, "quality", *priced, "of gap", *seconds]
    rows = []
    for rank, agent in enumerate(analysis.ranking(), 1):
        row, pair = analysis.summary[agent], versus.get(agent)
        rows.append(
            [
                Text(str(rank), "dim"),
                Text(
                    agent if len(agent) <= 24 else agent[:23] + "…",
                    "italic" if cell.role(agent) == "reference" else "bold",
                ),
                Text(f"{row.reward:.4f}" + _half(row.reward_lo, row.reward_hi)),
                _versus(pair) if pair else Text("—" if agent == cell.best_fixed else ""),
                *([_lead(row)] if held else []),
                Text(f"{row.quality:.3f}"),
                *([Text(f"{row.cost * unit.factor:#.3g}")] if unit else []),
                Text("" if agent in (cell.best_fixed, cell.oracle) else percent(analysis.honesty[agent].oracle_share)),
                *(Text(f"{getattr(row, name):.3g}") for name in PERCENTILES["latency"] if seconds),
            ]
        )
    widths = [max(map(len, column)) + 1 for column in zip(header, *rows, strict=True)]
    shown = max(3, sum(sum(widths[: i + 1]) - 1 <= width for i in range(len(widths))))
    table = Table(
        title=cell.key.label + (" (simulated)" if analysis.simulated else ""),
        caption=caption(analysis),
        title_style="bold",
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in header[:shown]:
        justify: Literal["left", "right"] = "left" if name == "agent" else "right"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", header_style="dim")
    for cells in rows:
        table.add_row(*cells[:shown])
    return table


def caption(analysis: Analysis) -> str:
    """The references of a cell in three short lines: best fixed arm, oracles, ceiling; one more for too few seeds."""
    known = analysis.cell.references
    few = few_seeds(len(analysis.cell.seeds))
    if known["best_fixed"] is None:
        return "\n".join(
            filter(None, ["no arm is on offer in every round, so there is no fixed arm to compare with", few])
        )
    best, oracle, ceiling = known["best_fixed"], known["oracle"], known["ceiling"]
    cross = known["cross_fitted"]
    lines = [
        f"best fixed arm {known['catalog'][best['arm']]['name']} {best['value']:.4f}",
        f"oracle {oracle['value']:.4f} by the table" + (f", {cross['value']:.4f} cross-fitted" if cross else ""),
        f"context is worth {ceiling['value']:+.4f}"
        + (f" [{ceiling['low']:+.4f}, {ceiling['high']:+.4f}]" if ceiling["low"] is not None else "")
        + f" over it, {ceiling['out_of_sample']['value']:+.4f} over that of other queries"
        + (": no signal" if ceiling["no_signal"] else ""),
    ]
    return "\n".join(filter(None, [*lines, few]))


def shorten(name: str) -> str:
    """A name of 24 characters at most."""
    return name if len(name) <= 24 else name[:23] + "…"


def percent(share: float) -> str:
    """A share in whole percent; empty if there is none."""
    return "" if math.isnan(share) else f"{round(share, 2) + 0.0:.0%}"


def _half(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" ±{(high - low) / 2:.4f}".replace("±0.", "±.")


def _lead(row: SummaryRow) -> Text:
    colour = "green" if row.holdout > 0 else "red"
    clear = row.holdout_qlo > 0 or row.holdout_qhi < 0
    return Text(f"{row.holdout:+.3f}".replace("0.", ".", 1), f"bold {colour}" if clear else "")


def _versus(pair: PairedRow) -> Text:
    clear = pair.p_holm < 0.05
    colour = "green" if pair.difference > 0 else "red"
    text = f"{pair.difference:+.4f}".replace("0.", ".", 1) + _half(pair.difference_lo, pair.difference_hi)
    return Text(text, f"bold {colour}" if clear else "")
