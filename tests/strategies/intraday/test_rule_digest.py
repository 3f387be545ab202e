"""A rule's digest: another one whenever its numbers or any code it runs differ, the same in every process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from strategies.intraday.rule import Rule
from strategies.intraday.rule_digest import code_parts

SOURCE = """
LIMIT = {limit}
ARRAY = np.array([{entry}])

def helper(x):
    '''{doc}'''
    return x + {added}

def chooses(x, y={default}):
    values = frozenset((1, 2, {member}))
    return [helper(x) + LIMIT + one + ARRAY[0] for one in (y, {literal})]

def uses():
    bound = {bound}
    def inner(x):
        return inner2(x) + bound
    def inner2(x):
        return x if x in ('a', {word!r}) else chooses(x)
    return inner

rule = uses()
"""
PLAIN = {
    "limit": 1, "entry": 1.0, "doc": "Adds.", "added": 1.0, "default": 2, "member": 3, "literal": 4, "bound": 5,
    "word": "b",
}  # fmt: skip


def digest(**changes):
    scope = {"np": np}
    exec(SOURCE.format(**PLAIN | changes), scope)
    return Rule(name="x", function=scope["rule"]).digest


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "doc"])
def test_every_constant_counts_also_in_functions_that_are_called(name):
    other = {"word": "c"}.get(name, 9)
    assert digest() == digest()
    assert digest(**{name: other}) != digest()


def test_whole_and_floating_numbers_differ_but_descriptions_do_not_count():
    assert digest(added=1) != digest()
    assert digest(doc="Adds one.") == digest()


def test_numbers_of_the_rule_count():
    rule = Rule(name="x", function=digest, table=np.arange(8.0).reshape(1, 2, 2, 2), numbers=np.arange(3.0))
    for changes in (
        {"name": "y"},
        {"table": rule.table.reshape(1, 2, 1, 4)},
        {"numbers": rule.numbers + 1e-12},
        {"memory_size": 2},
        {"interval_ns": 5},
        {"calls": 0},
    ):
        assert replace(rule, **changes).digest != rule.digest
    assert replace(rule, notes={"a": 1}).digest == rule.digest


def test_the_digest_is_the_same_in_another_process():
    """With another seed of Python's hashes, which order sets."""
    code = (
        "import hashlib; from strategies.intraday.quoting_kernels import quoting_rule; "
        "from strategies.intraday.rule_digest import code_parts; "
        "print(hashlib.sha256(chr(10).join(code_parts(quoting_rule)).encode()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_the_compiled_rule_and_its_callees_are_seen():
    from strategies.intraday.quoting_kernels import quoting_rule

    text = "\n".join(code_parts(quoting_rule))
    for name in ("quoting_rule", "wanted_quotes", "table_quotes", "move_side", "follow_regime", "put_request"):
        assert f"function strategies.intraday.quoting_kernels.{name} " in text
    assert "ROUNDING = float 1e-09" in text
    assert "0x7f" not in text


def test_rules_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="memory_size must be at least 1; was 0"):
        Rule(name="x", function=digest, memory_size=0)
    with pytest.raises(ValueError, match="table must have 4 dimensions"):
        Rule(name="x", function=digest, table=np.zeros(3))
