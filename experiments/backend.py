"""How JAX is set up in every process that plays or trains; said before its first program runs."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import jax

XLA = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=2097152"
"""For CPUs: loops become one function each instead of a call per operation and step, which takes more than half off a
round of Thompson sampling. Loops that touch more bytes than this stay as they are: compiled so, large products take
twice as long (UniScale over 1152 arms from 8 MiB on)."""


def configure() -> None:
    """Compiled programs outlive the process: a second run starts at once. JAX_COMPILATION_CACHE_DIR moves them.

    Programs run on the thread that calls them (see `Player`), so that units side by side never wait for each other.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(home / "uis_env" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    # Accelerators round the factors of float32 products to 10 bits or fewer by default; posteriors do not survive that.
    jax.config.update("jax_default_matmul_precision", "highest")
    flags = os.environ.get("XLA_FLAGS", "")
    if XLA not in flags:
        os.environ["XLA_FLAGS"] = f"{XLA} {flags}".strip()  # a user's own come last and win


OWN_THREAD = {"xla_cpu_multi_thread_eigen": False}
"""The units are the parallelism: matrix products stay on the thread of their unit."""
OWN_PRODUCTS = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""Small products are compiled into the program: calling a library costs more than they do (shared LinUCB: a fifth)."""


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """What a CPU's programs are compiled with, as far as this version of XLA knows it; None on an accelerator."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(abs).lower(0.0).compile(OWN_THREAD | OWN_PRODUCTS)
    except jax.errors.JaxRuntimeError:
        return OWN_THREAD
    return OWN_THREAD | OWN_PRODUCTS
