"""Runs the examples, each library in a virtual environment of its own: `make interop`, `make interop-all`.

An example passes if it ends without an error and, where it prints a difference to the random policy, the interval of
that difference lies above zero.
"""

import argparse
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
TORCH = ("torch",)
EXAMPLES = {  # example -> packages; those of QUICK install within a minute
    "mabwiser_linucb": ("mabwiser",),
    "vowpal_wabbit": ("vowpalwabbit",),
    "bayesianbandits_thompson": ("bayesianbandits",),
    "coba_experiment": ("coba",),
    "minari_record": ("minari[create,hdf5]",),
    "cleanrl_style": TORCH,
    "stable_baselines3_dqn": (*TORCH, "stable-baselines3"),
    "stable_baselines3_ppo": (*TORCH, "stable-baselines3"),
    "maskable_ppo": (*TORCH, "stable-baselines3", "sb3-contrib"),
    "torchrl_policy_gradient": (*TORCH, "torchrl"),
    "purejaxrl_ppo": ("jax", "flax", "optax"),
}
QUICK = ("mabwiser_linucb", "vowpal_wabbit", "bayesianbandits_thompson", "coba_experiment", "minari_record")


def python_of(packages: tuple[str, ...], folder: Path) -> Path:
    """The Python of an environment with this checkout and the packages; made if it is not there."""
    home = folder / re.sub(r"\W+", "-", "-".join(packages))
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (home / "ready").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-e", HERE.parent, *packages], check=True)
        (home / "ready").touch()
    return python


def passes(output: str) -> bool:
    """Whether every interval of a difference to the random policy lies above zero."""
    lows = re.findall(r"random\b.*\[([+-][\d.]+), ", output)
    return all(float(low) > 0 for low in lows)


def main() -> int:
    """Runs the examples named, or all; the exit status is 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*EXAMPLES, []], help="examples to run (all)")
    parser.add_argument("--quick", action="store_true", help="only those that install within a minute")
    parser.add_argument("--venvs", type=Path, default=HERE.parent / "build" / "interop", help="where environments go")
    args = parser.parse_args()
    failed = []
    for name in args.names or (QUICK if args.quick else EXAMPLES):
        python = python_of(EXAMPLES[name], args.venvs)
        done = subprocess.run(
            [python, "-W", "ignore", HERE / f"{name}.py"], capture_output=True, text=True, timeout=1800
        )
        fine = done.returncode == 0 and passes(done.stdout)
        print(f"== {name}: {'passes' if fine else 'FAILS'}\n{done.stdout}{'' if fine else done.stderr}", flush=True)
        failed += [] if fine else [name]
    print(f"failed: {', '.join(failed)}" if failed else "all pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
