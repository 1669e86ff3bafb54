"""Code that a user names as `module:function`. Only configs, command lines and callers in Python may name code."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

_HERE = Path(__file__).parent
_LIBRARIES = (*(_HERE.parent / name for name in (_HERE.name, "agents", "experiments")), Path(os.__file__).parent)
_FOLDERS: set[Path] = set()
"""Where modules of users were found in this process."""


def is_code(text: str) -> bool:
    """Whether a text has the form `module:function`."""
    return PATTERN.fullmatch(text) is not None


def find_function(text: str, folders: Sequence[str | os.PathLike[str]] = ()) -> Callable[..., Any]:
    """The function at `module:function`: of a file in the working directory, then in `folders`, else an installed one.

    The folder where the module was found stays on `sys.path`, for the imports of its functions.

    Raises:
        ValueError: in one line, naming the text, and file and line of an error in the module.
    """
    name, _, attribute = text.partition(":")
    folder = next((place for place in _places(folders) if _holds(place, name)), None)
    try:
        module = _import(name, folder)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{text}: {describe(error)}") from error
    try:
        function = getattr(module, attribute)
    except AttributeError:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"{text}: {module.__file__} has no {attribute!r}; it has {', '.join(known[:20])}") from None
    if not callable(function):
        raise ValueError(f"{text}: {attribute} is not callable, expected a function")
    return function  # type: ignore[no-any-return]


def call_function(text: str, function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """What a user's function returns for some options.

    Raises:
        ValueError: in one line, if it does not take the options, or naming file and line of its error.
    """
    try:
        inspect.signature(function).bind(**options)
    except TypeError as error:
        raise ValueError(f"{text}: {error}") from None
    try:
        return function(**options)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{text}: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """An error of a user's code in one line: `my_world.py:20: KeyError: 'x'`."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '?').name}:{error.lineno}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(Path(frame.filename))]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: " if frames else ""
    message = str(error).partition("\n")[0]
    if isinstance(error, ModuleNotFoundError) and not frames:
        return message
    if isinstance(error, AttributeError) and error.name and error.obj is not None:
        kind = f"module {error.obj.__name__!r}" if isinstance(error.obj, ModuleType) else repr(type(error.obj).__name__)
        return f"{where}{kind} has no attribute {error.name!r}{did_you_mean(error.name, dir(error.obj))}"
    return f"{where}{type(error).__name__}" + (f": {message}" if message else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of the known names; nothing if none is near."""
    close = difflib.get_close_matches(name, [one for one in known if not one.startswith("_")], 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _is_ours(file: Path) -> bool:
    """Whether a frame is none of the user's: of this project, of Python, or of an installed library."""
    return any(folder in file.parents for folder in _LIBRARIES) or "site-packages" in file.parts or file.name[0] == "<"


def _places(folders: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    yield Path.cwd()
    yield from (Path(folder).resolve() for folder in folders)


def _holds(folder: Path, name: str) -> bool:
    """Whether a folder has the module, as a file or a package."""
    path = folder.joinpath(*name.split("."))
    return path.with_name(f"{path.name}.py").is_file() or (path / "__init__.py").is_file()


def _import(name: str, folder: Path | None) -> ModuleType:
    if folder is None:
        return importlib.import_module(name)
    for key, module in list(sys.modules.items()):
        home = _home(key, module)
        # A module of that name from another user's folder, as another config may have brought it.
        if home in _FOLDERS and home != folder and _holds(folder, key.partition(".")[0]):
            del sys.modules[key]
    _FOLDERS.add(folder)
    while str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _home(name: str, module: ModuleType) -> Path | None:
    """The folder that a loaded module's top package or file is in."""
    file = getattr(module, "__file__", None)
    if not file:
        return None
    up = name.count(".") + (Path(file).name == "__init__.py")
    return Path(file).resolve().parents[up] if len(Path(file).parts) > up + 1 else None
