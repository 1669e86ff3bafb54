"""`python -m experiments paper`: the whole protocol of UniScale, and one report of what was published beside ours."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from experiments import commands, store
from experiments.config import Config, ConfigError, load_config
from experiments.paper import rows
from experiments.paper.claims import Finding, evaluate, load_claims
from experiments.paper.page import page
from experiments.results import Cell
from experiments.tables import to_csv
from uis_env.outcomes import atomic_write

CONFIGS = (
    *("uniscale_main", "uniscale_subspaces", "uniscale_ablations", "uniscale_early_exit"),
    *("uniscale_drift_cost", "uniscale_drift_quality", "uniscale_horizons"),
    *("uniscale_livecodebench", "uniscale_recorded"),
)
"""The configs of the protocol, in the order of the report."""
HORIZONS = "uniscale_horizons"


def command(out: Path, seeds: int | None = None, workers: int | None = None, only: Sequence[str] = ()) -> int:
    """Runs every config (what is whole already is kept) and writes the report.

    Args:
        out: folder; a run directory per config, and the report beside them.
        seeds: instead of each config's own number.
        workers: threads; None takes one per core.
        only: names of configs; empty takes all.

    Raises:
        ConfigError: if a name is not one of the configs.
        StoreError: if a folder holds the results of another config.
    """
    console = Console()
    unknown = set(only) - set(CONFIGS)
    if unknown:
        raise ConfigError(f"unknown config {sorted(unknown)}; expected some of {', '.join(CONFIGS)}")
    from experiments import backend

    backend.configure()
    cells: dict[str, list[Cell]] = {}
    configs: dict[str, Config] = {}
    skipped: dict[str, str] = {}
    for name in [name for name in CONFIGS if not only or name in only]:
        config = load_config(commands.CONFIGS / f"{name}.toml")
        if seeds is not None:
            config = msgspec.structs.replace(config, seeds=seeds)
        missing = _missing(config)
        if missing:
            skipped[name] = missing
            console.print(f"[yellow]{name} is left out:[/] {missing}", highlight=False)
            continue
        begin = time.perf_counter()
        configs[name], cells[name] = config, _run(config, out / name, workers, console)
        console.print(f"{name}: {time.perf_counter() - begin:.0f} s", highlight=False)
    findings = write(out, cells, configs, skipped)
    compared = [finding.verdict for finding in findings if finding.claim.other is not None]
    told = ", ".join(f"{compared.count(verdict)} {verdict}" for verdict in ("yes", "sign only", "open", "no"))
    console.print(f"{len(compared)} published comparisons: {told}", highlight=False)
    console.print(f"report: [bold]{out / 'report.html'}[/]", highlight=False)
    return 0


def write(
    out: Path, cells: Mapping[str, Sequence[Cell]], configs: Mapping[str, Config], skipped: Mapping[str, str]
) -> list[Finding]:
    """Writes report.html, claims.csv, agents.csv, recovery.csv and horizons.csv, each atomically."""
    findings = evaluate(load_claims(), cells)
    agents = [row for name, own in cells.items() for row in rows.agent_rows(name, own)]
    recoveries = [row for name, own in cells.items() for row in rows.recovery_rows(name, own)]
    horizons = list(rows.horizon_rows(cells.get(HORIZONS, ())))
    text = page(findings, cells, configs, agents, recoveries, horizons, skipped)
    files = {
        "report.html": text,
        "claims.csv": claims_csv(findings),
        "agents.csv": to_csv(rows.AgentRow._fields, agents),
        "recovery.csv": to_csv(rows.RecoveryRow._fields, recoveries),
        "horizons.csv": to_csv(rows.HorizonRow._fields, horizons),
    }
    for name, content in files.items():
        atomic_write(out / name, content.encode())
    return findings


def claims_csv(findings: Iterable[Finding]) -> str:
    """One line per claim and world: published, ours with its interval, verdict; for all seeds and for few."""
    header = (
        *("section", "claim", "config", "world", "simulated", "preference", "scenario", "agent", "other", "metric"),
        *("compare", "published", "expect", "seeds", "ours", "lo", "hi", "agrees"),
        *("ours_5", "lo_5", "hi_5", "agrees_5", "why"),
    )
    nothing = float("nan")
    return to_csv(
        header,
        (
            (
                *(f.section.title, f.claim.text, f.section.config, f.world, int(f.simulated), f.claim.preference),
                *(f.claim.scenario, f.claim.agent, f.claim.other or "", f.claim.metric),
                f.claim.compare if f.claim.other else "",
                nothing if f.claim.published is None else float(f.claim.published),
                *(f.claim.expect or "", f.seeds, *f.ours, f.verdict, *f.few, f.few_verdict, f.claim.why),
            )
            for f in findings
        ),
    )


def _run(config: Config, root: Path, workers: int | None, console: Console) -> list[Cell]:
    """Plays one config and writes its own tables and report."""
    from experiments.runner import Runner

    cells = commands.play(Runner(config, root, workers=workers), console)
    store.write_runs(root, cells)
    commands.write_outputs(root, cells, Console(quiet=True))
    return cells


def _missing(config: Config) -> str:
    """Why a config cannot be run here: data that is not shipped; empty if it can."""
    if not any(part.what == "LiveCodeBench" for part in config.worlds):
        return ""
    from uis_env.worlds.live_code_bench import find_data

    try:
        find_data(None)
    except FileNotFoundError as error:
        return str(error)
    return ""
