"""`python -m experiments paper`: the protocols of papers, each with one report of what was published beside ours."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from experiments import commands
from experiments.catalog import CONFIGS
from experiments.config import Config, ConfigError, load_config, parse_config
from experiments.paper import latency, uniscale
from experiments.paper.claims import Finding, claims_csv, counts, evaluate, load_claims
from experiments.paper.page import index
from experiments.paper.protocol import Protocol
from uis_env import worlds
from uis_env.files import atomic_write

PROTOCOLS: Mapping[str, Protocol] = {one.name: one for one in (uniscale.PROTOCOL, latency.PROTOCOL)}
"""Every protocol by name."""


def command(
    names: Sequence[str],
    out: Path,
    seeds: int | None = None,
    workers: int | None = None,
    only: Sequence[str] = (),
) -> int:
    """Runs the configs of some protocols (what is whole already is kept) and writes their reports, and an index.

    Args:
        names: of protocols; empty takes all.
        out: folder; one per protocol in it, with a run directory per config and the report beside them.
        seeds: instead of each config's own number.
        workers: threads; None takes one per core.
        only: names of configs; empty takes all.

    Raises:
        ConfigError: if a name is not one of the protocols or of their configs.
        StoreError: if a folder holds the results of another config.
    """
    if unknown := sorted(set(names) - set(PROTOCOLS)):
        raise ConfigError(f"unknown protocol {unknown}; expected some of {', '.join(PROTOCOLS)}")
    protocols = [one for one in PROTOCOLS.values() if not names or one.name in names]
    configs = [config for one in protocols for config in one.configs]
    if unknown := sorted(set(only) - set(configs)):
        raise ConfigError(f"unknown config {unknown}; expected some of {', '.join(configs)}")
    from experiments import backend

    backend.configure()
    console = Console()
    _simulate([name for name in configs if not only or name in only], workers)
    found = {}
    for one in protocols:
        chosen = [name for name in one.configs if not only or name in only]
        if chosen:
            found[one.name] = play(one, chosen, out / one.name, seeds, workers, console)
    shown = [one for one in PROTOCOLS.values() if one.name in found or (out / one.name / "report.html").exists()]
    entries = [(one.name, one.title, one.told, found.get(one.name)) for one in shown]
    atomic_write(out / "report.html", index(entries).encode())
    console.print(f"all of it: [bold]{out / 'report.html'}[/]", highlight=False)
    return 0


def play(
    protocol: Protocol, chosen: Sequence[str], out: Path, seeds: int | None, workers: int | None, console: Console
) -> list[Finding[Any]]:
    """Runs some configs of a protocol and writes its files below `out`."""
    cells: dict[str, Any] = {}
    configs: dict[str, Config] = {}
    skipped: dict[str, str] = {}
    for name in chosen:
        config = load_config(CONFIGS / f"{name}.toml")
        if seeds is not None:
            config = parse_config({**msgspec.to_builtins(config), "seeds": seeds}, "--seeds")
        if missing := _missing(config):
            skipped[name] = missing
            console.print(f"[yellow]{name} is left out:[/] {missing}", highlight=False)
            continue
        begin = time.perf_counter()
        configs[name], cells[name] = config, _run(config, out / name, workers, console)
        console.print(f"{name}: {time.perf_counter() - begin:.0f} s", highlight=False)
    findings = write(protocol, out, cells, configs, skipped)
    console.print(f"{protocol.title}: {counts(findings)}", highlight=False)
    console.print(f"report: [bold]{out / 'report.html'}[/]", highlight=False)
    return findings


def write(
    protocol: Protocol,
    out: Path,
    cells: Mapping[str, Any],
    configs: Mapping[str, Config],
    skipped: Mapping[str, str],
) -> list[Finding[Any]]:
    """Writes claims.csv and the protocol's own files, each atomically."""
    findings = evaluate(load_claims(protocol.claims, protocol.claim), cells, protocol.find)
    files = {"claims.csv": claims_csv(findings), **protocol.files(findings, cells, configs, skipped)}
    for name, content in files.items():
        atomic_write(out / name, content.encode())
    return findings


def _simulate(names: Sequence[str], workers: int | None) -> None:
    """Loads all worlds, in processes: a simulation keeps one core busy, and leaves its world in a cache."""
    parts = [part for name in names for part in load_config(CONFIGS / f"{name}.toml").worlds]
    distinct = {repr((part.what, part.options)): part for part in parts}
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for part in distinct.values():
            pool.submit(_fill_cache, part.what, part.options)  # one that cannot be loaded is named when it is played


def _fill_cache(name: str, options: Mapping[str, Any]) -> None:
    worlds.load(name, **options)


def _run(config: Config, root: Path, workers: int | None, console: Console) -> list[Any]:
    """Plays one config and writes its own tables and report."""
    from experiments.runner import Runner

    runner = Runner(config, root, workers=workers)
    cells = commands.play(runner, console)
    runner.player.let_go()  # they serve no other config, and a process can hold only so many (`player.PROGRAMS`)
    commands.write_outputs(root, config, cells, Console(quiet=True))
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
