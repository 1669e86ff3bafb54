"""How JAX is set up in every process that plays units; said before its first program runs."""

from __future__ import annotations

import os
from pathlib import Path

import jax


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
