"""A solved policy as plain arrays and plain metadata, and back: what a policy file holds (the file is the caller's)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from mfg_core.linear_quadratic.clearing import ClearingEquilibrium, ClearingPolicy
from mfg_core.linear_quadratic.execution import ExecutionEquilibrium, ExecutionPolicy
from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingPolicy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Equilibrium: TypeAlias = ExecutionEquilibrium | ClearingEquilibrium | MarketMakingEquilibrium
Policy: TypeAlias = ExecutionPolicy | ClearingPolicy | MarketMakingPolicy

POLICY_VERSION = 1
"""Raised whenever the arrays or their meaning change."""

ARTEFACT_FORMAT = 2
"""Version of the equilibrium.json that `rebuild_policies` reads."""

_FEEDBACK = ("times", "riccati", "friction", "friction_slope", "log_remaining")
_NEEDED = {
    "execution": _FEEDBACK,
    "clearing": (*_FEEDBACK, "mean", "mean_rate"),
    "market_making": ("times", "states", "ask", "bid"),
}


def policy_arrays(equilibrium: Equilibrium) -> dict[str, Floats]:
    """The policy's arrays (what `rebuild_policy` needs) and the crowd's (`crowd_...`, `density`), all float64."""
    policy: Any = equilibrium.policy
    arrays: dict[str, Floats] = {}
    if isinstance(policy, ClearingPolicy):
        arrays |= {"mean": policy.mean, "mean_rate": policy.mean_rate}
        policy = policy.feedback
    arrays |= {name: getattr(policy, name) for name in _names(policy) if name in _NEEDED[_kind(equilibrium)]}
    arrays |= {f"crowd_{name}": getattr(equilibrium.mean_field, name) for name in _names(equilibrium.mean_field)}
    return arrays | {"states": equilibrium.states, "density": equilibrium.density}


def policy_metadata(equilibrium: Equilibrium) -> dict[str, Any]:
    """What goes beside the arrays, as JSON types: kind, version, the game's parameters and the certificate.

    Infinite parameters are the strings "inf" and "-inf"; a supply that is a function is the string "function" (the
    policy's `mean_rate` holds its values); a parameter that is an object (a form of competition, an intensity shape) is
    a mapping of its fields with its class as "form".
    """
    certificate = equilibrium.certificate
    return {
        "kind": _kind(equilibrium),
        "version": POLICY_VERSION,
        "game": {name: _plain(getattr(equilibrium.game, name)) for name in _names(equilibrium.game)},
        "certificate": {
            **{name: _plain(getattr(certificate, name)) for name in _names(certificate) if name != "status"},
            "status": certificate.status.name,
            "status_sentence": certificate.status.value,
        },
    }


def rebuild_policy(arrays: Mapping[str, Floats], metadata: Mapping[str, Any]) -> Policy:
    """The policy that `policy_arrays` and `policy_metadata` described; it answers exactly as the solved one.

    Raises
    ------
    ValueError
        When the version or kind is another, an array is missing, shapes do not fit, or times do not increase.
    """
    if metadata.get("version") != POLICY_VERSION:
        raise ValueError(
            f"version of the policy must be {POLICY_VERSION}; was {metadata.get('version')!r}: solve again"
        )
    kind = metadata.get("kind")
    if kind not in _NEEDED:
        raise ValueError(f"kind of the policy must be one of {', '.join(_NEEDED)}; was {kind!r}")
    missing = [name for name in _NEEDED[kind] if name not in arrays]
    if missing:
        raise ValueError(
            f"arrays of a {kind} policy must hold {', '.join(_NEEDED[kind])}; missing {', '.join(missing)}"
        )
    held = {name: np.array(arrays[name], dtype=np.float64) for name in _NEEDED[kind]}
    times = held["times"]
    if times.ndim != 1 or times.size < 2 or not np.all(np.diff(times) > 0):
        raise ValueError(f"times must be one-dimensional and increasing; was of shape {times.shape}")
    shape = (times.size, held["states"].size) if kind == "market_making" else times.shape
    for name, values in held.items():
        if name != "states" and name != "times" and values.shape != shape:
            raise ValueError(f"{name} must have shape {shape}; was {values.shape}")
    if kind == "market_making":
        game = metadata["game"]
        low, high = float(game["min_half_spread"]), float(game["max_half_spread"])
        return MarketMakingPolicy(held["times"], held["states"], held["ask"], held["bid"], low, high)
    penalty = float(metadata["game"]["running_penalty"])
    feedback = ExecutionPolicy(**{name: held[name] for name in _FEEDBACK}, running_penalty=penalty)
    return ClearingPolicy(feedback, held["mean"], held["mean_rate"]) if kind == "clearing" else feedback


def rebuild_policies(arrays: Mapping[str, Floats], record: Mapping[str, Any]) -> dict[str, MarketMakingPolicy]:
    """The quoting policies of what `fairfield solve` wrote, by the name of their market, maker type or regime.

    Parameters
    ----------
    arrays : mapping
        Content of equilibrium.npz.
    record : mapping
        Content of equilibrium.json. Its `parts` are in the order of the arrays' prefixes `0_`, `1_`, ...

    Raises
    ------
    ValueError
        When the format is another, the game has no quotes, or a policy cannot be rebuilt.
    """
    if record.get("format_version") != ARTEFACT_FORMAT:
        raise ValueError(
            f"format_version of the record must be {ARTEFACT_FORMAT}; was {record.get('format_version')!r}: solve again"
        )
    if "policy" in record:
        return {"market": _quoting(arrays, record["policy"])}
    if "parts" not in record:
        raise ValueError(
            f"kind of the record must be of market makers; was {record.get('kind')!r}, which has no quotes"
        )
    policies = {}
    for i, part in enumerate(record["parts"]):
        own = {name.removeprefix(f"{i}_"): arrays[name] for name in arrays if name.startswith(f"{i}_")}
        policies[part["name"]] = _quoting(own, part["policy"])
    return policies


def _quoting(arrays: Mapping[str, Floats], metadata: Mapping[str, Any]) -> MarketMakingPolicy:
    if metadata.get("kind") != "market_making":
        raise ValueError(f"kind of the policy must be market_making; was {metadata.get('kind')!r}")
    return cast("MarketMakingPolicy", rebuild_policy(arrays, metadata))


def _kind(equilibrium: Equilibrium) -> str:
    if isinstance(equilibrium, MarketMakingEquilibrium):
        return "market_making"
    return "clearing" if isinstance(equilibrium, ClearingEquilibrium) else "execution"


def _names(record: Any) -> list[str]:
    return [field.name for field in fields(record)]


def _plain(value: Any) -> bool | int | float | str | dict[str, Any]:
    if is_dataclass(value):
        return {"form": type(value).__name__, **{name: _plain(getattr(value, name)) for name in _names(value)}}
    if callable(value):
        return "function"
    if isinstance(value, bool | int | str):
        return value
    return float(value) if math.isfinite(value) else str(float(value))
