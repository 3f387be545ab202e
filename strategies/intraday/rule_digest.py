"""What a compiled rule would do, as bytes for a hash: its code, constants, the functions it calls, what it reads."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import numpy as np


def code_parts(function: Any) -> Iterator[str]:
    """Texts that change when the function's code, its constants, or a function or global that it uses changes.

    Follows compiled and plain Python functions by the names that the code reads, each once. Docstrings and line numbers
    are not in it. The same in every process of one version of Python; another version has other byte code.
    """
    yield from _function(_plain(function), set())


def _function(function: types.FunctionType, seen: set[int]) -> Iterator[str]:
    seen.add(id(function))
    yield f"function {function.__module__}.{function.__qualname__} defaults {_value(function.__defaults__)}"
    code = function.__code__
    yield from _code(code, function.__doc__)
    used = {name: function.__globals__[name] for name in _names(code) if name in function.__globals__}
    cells = function.__closure__ or ()
    used |= {name: cell.cell_contents for name, cell in zip(code.co_freevars, cells, strict=True)}
    for name in sorted(used):
        inner = _plain(used[name])
        if not isinstance(inner, types.FunctionType):
            yield f"{name} = {_value(inner)}"
        elif id(inner) not in seen:
            yield f"{name} is"
            yield from _function(inner, seen)


def _code(code: types.CodeType, doc: str | None) -> Iterator[str]:
    constants = [one for one in code.co_consts if not (isinstance(one, str) and one == doc)]
    yield f"code {code.co_code.hex()} names {code.co_names} locals {len(code.co_varnames)}"
    for constant in constants:
        if isinstance(constant, types.CodeType):
            yield from _code(constant, None)
        else:
            yield f"constant {_value(constant)}"


def _names(code: types.CodeType) -> set[str]:
    inner = (one for one in code.co_consts if isinstance(one, types.CodeType))
    return set(code.co_names).union(*(_names(one) for one in inner))


def _plain(function: Any) -> Any:
    """The Python function of a compiled one."""
    return getattr(function, "py_func", function)


def _value(value: Any) -> str:
    """A text of a value that is the same in every process: no addresses, no order of hashes."""
    if isinstance(value, np.ndarray):
        return f"array {value.dtype.str} {value.shape} {value.tobytes().hex()}"
    if isinstance(value, frozenset | set):
        return f"set {sorted(_value(one) for one in value)}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} {[_value(one) for one in value]}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return f"{type(value).__name__} {value!r}"
    return f"{type(value).__name__} {getattr(value, '__name__', '')}"
