"""Compiled kernels are kept between processes, and never outlive the file that they were compiled from."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("data_pipeline", "mfg_core", "risk", "strategies", "backtests", "execution", "reports", "fairfield")
COMPILERS = {"njit", "jit", "vectorize", "guvectorize"}

ALLOWED: dict[tuple[str, str], str] = {}
"""(caller's file, callee): why a compiled function may call one of another file."""


@cache
def compiled_files():
    """File -> (its tree, its compiled functions by name)."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if not any(word in source for word in COMPILERS):
                continue
            tree = ast.parse(source)
            kernels = {
                node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and compiled(node)
            }
            if kernels:
                found[path.relative_to(ROOT).as_posix()] = (tree, kernels)
    return found


def compiled(function):
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) in COMPILERS:
            return True
    return False


def imported_names(tree):
    """Local name -> (module, name there) of everything imported from another file."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: (alias.name, "") for alias in node.names}
    return names


def calls_across_files(files):
    """(file, kernel, callee) of each compiled function that uses a compiled function or constant of another file."""
    modules = {path.removesuffix(".py").replace("/", "."): kernels for path, (_, kernels) in files.items()}
    found = []
    for path, (tree, kernels) in files.items():
        names = imported_names(tree)
        for name, kernel in kernels.items():
            # Annotations are not compiled.
            for node in (node for statement in kernel.body for node in ast.walk(statement)):
                if not isinstance(node, ast.Name) or node.id not in names:
                    continue
                module, there = names[node.id]
                ours = module.split(".")[0] in ROOMS
                if ours and (module not in modules or there in modules[module] or there.isupper() or not there):
                    found.append((path, name, node.id))
    return found


def test_no_compiled_function_uses_one_of_another_file():
    """Numba's cache looks at the caller's file only: an edited callee or constant elsewhere would not be seen."""
    files = compiled_files()
    assert "mfg_core/market/linear_kernels.py" in files
    used = calls_across_files(files)
    assert [use for use in used if (use[0], use[2]) not in ALLOWED] == []


def test_the_search_sees_a_call_into_another_file(tmp_path):
    caller = ast.parse(
        "from mfg_core.market.kernels import worth as w\n@njit(cache=True)\ndef f(x):\n    return w(x)\n"
    )
    files = compiled_files()
    kernels = {node.name: node for node in ast.walk(caller) if isinstance(node, ast.FunctionDef)}
    assert calls_across_files(files | {"mfg_core/caller.py": (caller, kernels)}) == [("mfg_core/caller.py", "f", "w")]


def test_every_kernel_is_cached():
    uncached = [
        (path, name)
        for path, (_, kernels) in compiled_files().items()
        for name, kernel in kernels.items()
        for decorator in kernel.decorator_list
        if not isinstance(decorator, ast.Call) or "cache" not in {word.arg for word in decorator.keywords}
    ]
    assert uncached == []


def in_new_process(code, folder):
    """What the code prints, with numba's cache where it puts it itself: beside the source."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CACHE")}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


def test_an_edited_kernel_gives_the_new_answer_in_the_next_process(tmp_path):
    """Same size, written again within the same second: the time stamp of the file has nanoseconds."""
    package = tmp_path / "temporary_room"
    package.mkdir()
    (package / "__init__.py").touch()
    kernel = package / "kernels.py"
    source = (
        "from numba import njit\n\n@njit(cache=True)\ndef inner(x):\n    return x + {}.0\n\n"
        "@njit(cache=True)\ndef outer(x):\n    return 10.0 * inner(x)\n"
    )
    code = (
        "from temporary_room.kernels import outer; "
        "print(outer(1.0), sum(outer.stats.cache_hits.values()), sum(outer.stats.cache_misses.values()))"
    )
    kernel.write_text(source.format(1))
    assert in_new_process(code, tmp_path) == "20.0 0 1"
    assert in_new_process(code, tmp_path) == "20.0 1 0"
    kernel.write_text(source.format(2))
    assert in_new_process(code, tmp_path) == "30.0 0 1"


def test_a_second_process_compiles_nothing_to_solve_a_game():
    code = """
import importlib
from dataclasses import replace
from mfg_core import MarketMakingGame, Share, solve_mfg
game = MarketMakingGame(ask_arrival=1.3, bid_arrival=0.9, fill_decay=0.8, running_penalty=0.05, terminal_penalty=0.3,
                        horizon=2.0, max_inventory=8)
solve_mfg(game)
solve_mfg(replace(game, competition=Share(), risk_aversion=0.1))
missed = []
for name in ("market.kernels", "market.linear_kernels", "iteration.mixing_kernel"):
    for kernel in vars(importlib.import_module("mfg_core." + name)).values():
        if hasattr(kernel, "stats"):
            missed += [kernel.__name__ for count in kernel.stats.cache_misses.values() if count]
print(missed, len(importlib.import_module("mfg_core.market.linear_kernels").march_linear.signatures))
"""
    # One signature: read-only arrays, which numba compiles for anew, are never passed.
    in_new_process(code, ROOT)
    assert in_new_process(code, ROOT) == "[] 1"


def test_kernels_of_the_market_game_release_the_interpreter():
    """So that threads can solve games side by side."""
    files = compiled_files()
    for path in ("mfg_core/market/kernels.py", "mfg_core/market/linear_kernels.py"):
        for name, kernel in files[path][1].items():
            words = {word.arg: word.value for decorator in kernel.decorator_list for word in decorator.keywords}
            assert isinstance(words.get("nogil"), ast.Constant), (path, name)
            assert words["nogil"].value is True, (path, name)
