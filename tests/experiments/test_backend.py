"""How JAX is set up: our flags come first, so that a user's win, and only once; options that XLA lacks are left out."""

from __future__ import annotations

import os
from typing import Any

import jax
import pytest

from experiments import backend


def test_a_users_flags_come_last_and_ours_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    for _ in range(2):
        backend.configure()
    assert os.environ["XLA_FLAGS"] == f"{backend.XLA} --xla_force_host_platform_device_count=3"


def test_options_that_this_xla_does_not_know_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    known: Any = backend.compiler_options.__wrapped__
    assert jax.jit(abs).lower(-1.0).compile(known())(-1.0) == 1.0
    monkeypatch.setattr(backend, "OWN_PRODUCTS", {"xla_cpu_no_such_option": ""})
    assert known() == backend.OWN_THREAD
