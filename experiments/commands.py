"""What the command line does; imported only once a command is known, so that --help is instant."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments import store
from experiments.config import Config, ConfigError, load_config, parse_agent, parse_config
from experiments.results import Cell

if TYPE_CHECKING:
    from experiments.runner import Executor, Runner


def run(args: argparse.Namespace) -> int:
    """`run CONFIG`: plays what is missing, then writes tables and report."""
    console = Console()
    with naming(args.config):
        runner = _runner(args)
    root, config = runner.store.root, runner.config
    cells = play(runner, console)
    if not runner.executor.first:
        console.print("all work units are whole; the first process writes tables and report")
        return 0
    write_outputs(root, config, cells, console)
    timings = store.read_json(root / "timings.json")
    console.print(
        f"{timings['total_run_seconds']:.1f} s in all, with {timings['total_compile_seconds']:.1f} s of compiling "
        f"on {runner.executor.label} ({runner.reused} of {len(runner.units())} units reused)\n"
        f"report: [bold]{root / 'report.html'}[/]",
        highlight=False,
    )
    return 0


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors in a config name its file."""
    try:
        yield
    except ConfigError as error:
        if str(path) in str(error):
            raise
        raise ConfigError(f"{path}: {error}") from error


def _runner(args: argparse.Namespace) -> Runner:
    """The runner of a config and of what the command line changes in it."""
    config = load_config(args.config)

    from experiments import backend

    backend.configure()
    from experiments.cells import own_world
    from experiments.entrants import check_own, own_factories, parse_entry
    from experiments.runner import Runner

    changes: dict[str, Any] = {
        name: getattr(args, name) for name in ("seeds", "rounds") if getattr(args, name) is not None
    }
    if args.world:
        changes["worlds"] = msgspec.to_builtins([own_world(text) for text in args.world])
    changes["agents"] = [
        *msgspec.to_builtins(config.agents),
        *(parse_entry(text, "--agent") for text in args.agent),
        *(parse_entry(text, "--gym-agent") for text in args.gym_agent),
    ]
    config = parse_config({**msgspec.to_builtins(config), **changes}, str(args.config))
    check_own(config.agents, own_factories(config.agents, config.folders))
    root = args.out or Path("results", config.name)
    return Runner(config, root, executor=_executor(args))


def play(runner: Runner, console: Console) -> list[Any]:
    """Plays what is missing behind a progress bar; Ctrl-C says what is kept and ends the process."""
    from experiments.runner import Progress as Hooks

    config, units = runner.config, runner.units()
    console.print(
        f"[bold]{config.name}[/]: {len(config.agents)} agents × {len(runner.games)} cells × "
        + (f"{len(config.swept)} preferences × " if config.sweeps else "")
        + f"{config.seeds} seeds × {config.rounds:,} rounds",
        highlight=False,
    )
    columns = (
        TextColumn("{task.percentage:3.0f}%"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, speed="compiling")
        played, broken = 0, set[Path]()

        def begin(total: int, damaged: list[Path], notes: list[str]) -> None:
            broken.update(damaged)
            for note in notes:
                console.print(f"[yellow]{note}[/]", highlight=False)
            for path in damaged:
                console.print(f"[yellow]damaged, computed again:[/] {path}", highlight=False)
            bar.update(task, total=max(total, 1), completed=0)

        def advance(rounds: int, label: str) -> None:
            nonlocal played
            played += rounds
            elapsed = bar.tasks[0].elapsed or 1.0
            bar.update(task, advance=rounds, speed=f"{played / elapsed / 1e3:,.0f}k rounds/s")

        try:
            return runner.run(Hooks(begin, advance))
        except KeyboardInterrupt:
            bar.stop()
            # To read all files once more would take longer than a user waits.
            paths = {runner.store.root / unit.path: unit for unit in units}
            done = sum(runner.store.done(paths[path]) if path in broken else path.exists() for path in paths)
            console.print(
                f"\nstopped: {done} of {len(units)} work units are done and kept in {runner.store.root}.\n"
                "Run the same command again to go on from here."
            )
            sys.stdout.flush()
            os._exit(130)  # threads that are compiling cannot be joined in time; units are written whole or not at all


def report(root: Path) -> int:
    """`report DIR`: tables and report once more, from what is stored (of a sweep: the units and the world's tables)."""
    console = Console()
    config = parse_config(store.read_manifest(root)["config"], f"{root / 'manifest.json'}: config")
    if config.sweeps:
        from experiments import backend
        from experiments.entrants import stand_ins
        from experiments.runner import Runner
        from uis_env.imports import is_code

        for part in config.worlds:
            if is_code(part.what):
                raise ConfigError(
                    f"{root}: report imports no code, and {part.what} makes the world; run it again instead"
                )
        backend.configure()
        write_outputs(root, config, Runner(config, root, stand_ins(config.agents)).collect(), console)
    else:
        write_tables(root, store.read_runs(root), console)
    console.print(f"report: [bold]{root / 'report.html'}[/]", highlight=False)
    return 0


def compare(roots: list[Path], out: Path) -> int:
    """`compare DIR DIR ... --out DIR`: tables and report over the agents of several runs."""
    from experiments import compare as runs

    if (out / "units").exists():
        raise store.StoreError(f"{out} is a run directory. Choose another --out")
    read = runs.read(roots)
    cells = runs.merge(read)
    store.write_json(out / "manifest.json", runs.manifest(read, cells, out.resolve().name))
    store.write_runs(out, cells)
    console = Console()
    write_tables(out, cells, console)
    console.print(f"report: [bold]{out / 'report.html'}[/]", highlight=False)
    return 0


def reproduce(root: Path, trust: bool, workers: int | None) -> int:
    """`reproduce DIR`: plays a run again from its manifest; 0 if the numbers are the same, else 1."""
    from experiments import backend
    from experiments import reproduce as again

    console = Console()

    def played(config: Config, folder: Path) -> list[Cell]:
        backend.configure()
        from experiments.runner import Runner

        return play(Runner(config, folder, workers=workers), console)

    found = again.reproduce(root, trust, played)
    console.print(found.text, highlight=False, soft_wrap=True)
    return found.status


def check(text: str) -> int:
    """`check MODULE:FACTORY`: whether an agent keeps the contract.

    Raises:
        ConfigError: naming the function that does not, or file and line of an error in it.
    """
    from experiments.entrants import check_own, own_factories, parse_entry

    part = parse_agent(parse_entry(text, "--agent"), f"check {text}")
    factories = own_factories([part], ())
    if part.code is None:
        raise ConfigError(f"check {text}: expected MODULE:FACTORY[,OPTION=VALUE...]")
    check_own([part], factories)
    Console().print(f"{part.code} keeps the contract", highlight=False)
    return 0


def write_outputs(root: Path, config: Config, cells: list[Any], console: Console) -> None:
    """All that a run directory holds besides its units: numbers, tables and report."""
    if config.sweeps:
        from experiments.sweeps import report as sweep_report

        sweep_report.write(root, config, cells)
    else:
        store.write_runs(root, cells)
        write_tables(root, cells, console)


def write_tables(root: Path, cells: list[Cell], console: Console) -> None:
    """Tables and report of a comparison, and a ranked table per cell on the console."""
    from experiments import tables
    from experiments.analysis import analyse
    from experiments.report import write_report

    manifest = store.read_manifest(root)
    analyses = analyse(cells)
    tables.write_tables(root, analyses)
    write_report(analyses, manifest, root / "report.html")
    for analysis in analyses:
        console.print(tables.ranked_table(analysis, console.width))


def _executor(args: argparse.Namespace) -> Executor:
    """Where units are played: on threads here, on a cluster, or on all hosts of a JAX job."""
    import jax

    from experiments.runner import Threads

    if args.cluster and args.distributed:
        raise ConfigError("--cluster and --distributed: expected one of them")
    if args.gpus_per_task and not args.cluster:
        raise ConfigError("--gpus-per-task: expected together with --cluster")
    if args.cluster:
        from experiments.cluster import Cluster

        return Cluster(args.cluster, args.gpus_per_task, args.workers)
    if args.distributed:
        from experiments.hosts import Hosts, join

        join(args.distributed)
        return Hosts(Threads(args.workers), args.wait, jax.process_index(), jax.process_count())
    return Threads(args.workers)
