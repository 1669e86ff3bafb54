"""UniScale (arXiv 2605.30898): agents over rounds, drifts and horizons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.config import Config
from experiments.paper.claims import Finding
from experiments.paper.protocol import Protocol
from experiments.paper.uniscale import rows
from experiments.paper.uniscale.claims import CLAIMS, Claim, find
from experiments.paper.uniscale.page import page
from experiments.results import Cell
from experiments.tables import to_csv

HORIZONS = "uniscale_horizons"


def files(
    findings: Sequence[Finding[Claim]],
    cells: Mapping[str, Sequence[Cell]],
    configs: Mapping[str, Config],
    skipped: Mapping[str, str],
) -> Mapping[str, str]:
    """The report, agents.csv, recovery.csv and horizons.csv."""
    agents = [row for name, own in cells.items() for row in rows.agent_rows(name, own)]
    recoveries = [row for name, own in cells.items() for row in rows.recovery_rows(name, own)]
    horizons = list(rows.horizon_rows(cells.get(HORIZONS, ())))
    return {
        "report.html": page(findings, cells, configs, agents, recoveries, horizons, skipped),
        "agents.csv": to_csv(rows.AgentRow._fields, agents),
        "recovery.csv": to_csv(rows.RecoveryRow._fields, recoveries),
        "horizons.csv": to_csv(rows.HorizonRow._fields, horizons),
    }


PROTOCOL = Protocol(
    name="uniscale",
    title="UniScale",
    told="Choosing model, method and budget per query by a linear bandit on text features (arXiv 2605.30898).",
    configs=(
        *("uniscale_main", "uniscale_subspaces", "uniscale_ablations", "uniscale_early_exit"),
        *("uniscale_drift_cost", "uniscale_drift_quality", HORIZONS),
        *("uniscale_livecodebench", "uniscale_recorded"),
    ),
    claims=CLAIMS,
    claim=Claim,
    find=find,
    files=files,
)
