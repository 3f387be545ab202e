"""What a calibration found, in plain sentences: what is rejected comes first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Fact = dict[str, str]

SIGNIFICANCE = 0.01
NOISE = 0.05
"""P value from which on a difference of the sides' arrivals is called noise."""
SKEWED = 0.1
"""Share of the full spread from which on the mean skew is worth a word."""
ALIKE = 1.6
"""Ratio of two bands' widths that is no difference: 40 draws know a width to about a fifth."""
FEW_ORDERS = 200
"""Orders in the fit below which a rejection is hard to get: not being rejected then says little."""


def verdict(found: Mapping[str, Any]) -> list[Fact]:
    """Sentences with their level: bad (the model is rejected, or there is no game), warn, ok; worst first."""
    facts = [
        *_no_game(found),
        *_poisson(found),
        *_exponential(found),
        *_crowd(found),
        *_noise(found),
        *_first_order(found),
        *_few(found),
        *_money(found),
        *_spread(found),
        *_stability(found),
        *_left_out(found),
    ]
    if not any(fact["level"] == "bad" for fact in facts):
        orders = found["counts_of_the_fit"]["used"]
        facts.insert(
            0,
            _fact(
                "ok",
                "The model is not rejected by these data.",
                f"{orders:,} orders: gaps look Poisson and one exponential law holds, at {SIGNIFICANCE:.0%}.",
            ),
        )
    order = {"bad": 0, "warn": 1, "ok": 2, "none": 3}
    return sorted(facts, key=lambda fact: order[fact["level"]])


def error_ratio(found: Mapping[str, Any]) -> tuple[float, float]:
    """Robust over model standard error: of the arrivals (the larger side), and of the decay."""
    parameters = found["parameters"]
    arrivals = [parameters[f"touch_{side}_arrival"] for side in ("ask", "bid")]
    decay = np.sqrt(np.diag(found["intensity"]["covariance"])[-1])
    return max(a["error"] / a["model_error"] for a in arrivals), float(decay / parameters["fill_decay"]["model_error"])


def _fact(level: str, words: str, detail: str = "") -> Fact:
    return {"level": level, "words": words, "detail": detail}


def _p(value: float) -> str:
    return "p < 1e-6" if value < 1e-6 else f"p = {value:.2g}"


def _no_game(found: Mapping[str, Any]) -> list[Fact]:
    equilibrium = found["equilibrium"]
    if "reason" not in equilibrium:
        return []
    return [_fact("bad", "There is no equilibrium to show.", f"The game of these estimates: {equilibrium['reason']}.")]


def _poisson(found: Mapping[str, Any]) -> list[Fact]:
    quality = found["quality"]
    failing = [side for side in ("ask", "bid") if quality[side]["p_value"] < SIGNIFICANCE]
    if not failing:
        return []
    windows, dispersion = np.asarray(quality["windows"]), np.asarray(quality["dispersion"])
    tests = "; ".join(
        f"{side}: KS distance {quality[side]['statistic']:.3f} over {quality[side]['orders']:,} gaps, "
        f"{_p(quality[side]['p_value'])}"
        for side in failing
    )
    spread = np.nanmax(dispersion[:, -1])
    share = max(quality[side]["branching"] for side in failing)
    arrivals, decay = error_ratio(found)
    kind = "clustered" if spread > 1.0 else "not Poisson"
    return [
        _fact(
            "bad",
            f"Rejected: arrivals are {kind}; a Poisson model misstates the chance of several fills in a row.",
            f"Time-rescaled gaps fail ({tests}). Over {windows[-1]:g} s counts vary {spread:.1f} times as much as "
            f"Poisson counts; a Hawkes fit has about {share:.0%} of orders set off by others. Robust standard errors "
            f"are used: {arrivals:.1f} times the Poisson ones for the arrivals, {decay:.1f} times for the decay.",
        )
    ]


def _exponential(found: Mapping[str, Any]) -> list[Fact]:
    quality, tick = found["quality"], found["window"]["tick"]
    agreement, facts = quality["agreement"], []
    if agreement is not None and agreement["p_value"] < SIGNIFICANCE:
        arrivals, depth = agreement["from_arrivals"], agreement["from_depth"]
        evidence = found["intensity"]["evidence"]
        used = {"all": "a compromise of the two", "arrivals": "the first", "depth": "the second"}[evidence]
        facts.append(
            _fact(
                "bad",
                "Rejected: no single exponential law fits both how often orders come and how deep they go.",
                f"At competition {found['parameters']['competition']['value']:.3g} arrivals at different spreads give "
                f"1/k = {_ticks(arrivals, tick)}; the depth that orders reach gives "
                f"{_ticks(depth, tick)} ({_p(agreement['p_value'])}). The quotes below rest on {used}.",
            )
        )
    bad = [side for side in ("ask", "bid") if quality["distances"][side]["p_value"] < SIGNIFICANCE]
    if bad:
        words = ", ".join(f"{side} {_p(quality['distances'][side]['p_value'])}" for side in bad)
        facts.append(
            _fact(
                "bad" if not facts else "warn",
                "The counts by distance do not follow the fitted law.",
                f"Chi-square: {words} (clustering makes it reject too often).",
            )
        )
    return facts


def _ticks(decay: float, tick: float) -> str:
    return f"{1.0 / decay / tick:.3g} ticks" if decay > 0 else "no decay at all"


def _crowd(found: Mapping[str, Any]) -> list[Fact]:
    """Where competition comes from."""
    origin, used = found["competition"], found["parameters"]["competition"]
    if origin["source"] == "configuration":
        return []
    if origin["source"] == "default":
        words = f"{used['value']:g} is a choice: between a maker alone (0) and orders that no quote turns away (1)."
        if math.isfinite(origin["low"]) and not origin["low"] <= used["value"] <= origin["high"]:
            words += f" The interval, {origin['low']:.2f} to {origin['high']:.2f}, does not hold it."
        return [
            _fact(
                "warn",
                "The data do not identify competition.",
                f"{origin['reason'][:1].upper()}{origin['reason'][1:]}. {words} The table of competitions shows the "
                "equilibria at others.",
            )
        ]
    ends = f"alone (0): {_p(origin['p_alone'])}; nobody turned away (1): {_p(origin['p_full'])}"
    at_end = "" if origin["value"] == used["value"] else f" The estimate is {origin['value']:.3g}, put to the end."
    return [
        _fact(
            "none",
            f"Competition is estimated: {used['value']:.2f} ± {used['error']:.2f}.",
            f"Of the best quote's moves, that share is followed by the orders ({ends}).{at_end} It rests on depth for "
            "the decay: orders sized to the best quote make both look larger.",
        )
    ]


def _noise(found: Mapping[str, Any]) -> list[Fact]:
    """A skew of the quotes out of arrivals that do not differ beyond chance."""
    equilibrium, p_value = found["equilibrium"], found["imbalance_p_value"]
    if "reason" in equilibrium or found["competition"]["symmetric"]:
        return []
    skew, spread = equilibrium["net_skew"], equilibrium["full_spread"]
    tick, c = found["window"]["tick"], found["parameters"]["competition"]["value"]
    if p_value < NOISE:
        if abs(skew) <= abs(spread):
            return []
        return [
            _fact(
                "warn",
                "The equilibrium quotes one side beyond the mid.",
                f"Asks stand {skew / tick:.3g} ticks further out than bids on average, the full spread is "
                f"{spread / tick:.3g}: at competition {c:.3g} the crowd cannot turn the imbalance of the arrivals away "
                f"({_p(p_value)} that there is none), and skews without a limit. That is the model, not the market.",
            )
        ]
    if abs(skew) < SKEWED * abs(spread):
        return []
    return [
        _fact(
            "warn",
            "The skew of the equilibrium comes from an imbalance that is noise.",
            f"Buyers and sellers arrive at rates that do not differ ({_p(p_value)}), yet asks stand {skew / tick:.3g} "
            f"ticks further out than bids on average: near competition 1 the crowd cannot turn an imbalance away. Set "
            "symmetric = true in [game].",
        )
    ]


def _first_order(found: Mapping[str, Any]) -> list[Fact]:
    """Bands by derivatives against bands by draws."""
    equilibrium = found["equilibrium"]
    draws = equilibrium.get("by_draws")
    if draws is None:
        return []
    tick, count = found["window"]["tick"], draws["draws"]
    low, high = draws["low"], draws["high"]
    linear = equilibrium["full_spread_high"] - equilibrium["full_spread_low"]
    unsolved = f" {draws['unsolved']} of {count} drawn games were not solved." if draws["unsolved"] else ""
    if not math.isfinite(low):
        return [_fact("warn", "The bands could not be checked by draws.", unsolved.strip())]
    ratio = (high - low) / linear if linear > 0 else math.inf
    if 1.0 / ALIKE <= ratio <= ALIKE and draws["unsolved"] <= 0.1 * count:
        return []
    return [
        _fact(
            "warn",
            "The bands of first order are not right here.",
            f"{count} games drawn from the estimates have spreads from {low / tick:.3g} to {high / tick:.3g} ticks, "
            f"the derivatives say {equilibrium['full_spread_low'] / tick:.3g} to "
            f"{equilibrium['full_spread_high'] / tick:.3g}.{unsolved}",
        )
    ]


def _few(found: Mapping[str, Any]) -> list[Fact]:
    orders = found["counts_of_the_fit"]["used"]
    if orders >= FEW_ORDERS:
        return []
    return [
        _fact(
            "warn",
            f"Only {orders:,} orders are in the fit.",
            "Tests this small reject little: absence of alarm proves nothing.",
        )
    ]


def _money(found: Mapping[str, Any]) -> list[Fact]:
    xi, half = found["parameters"]["adverse_selection"], 0.5 * found["market"]["quoted_spread"]
    tick, horizon = found["window"]["tick"], found["mark_out_horizon"]
    words = (
        f"{horizon:g} s after a fill the mid has moved {xi['value'] / tick:.2f} ± {xi['error'] / tick:.2f} ticks "
        f"against the maker; the quoted half-spread is {half / tick:.2f} ticks."
    )
    if xi["value"] >= half:
        return [_fact("warn", "At the quoted spread, fills lose money on average before rebates.", words)]
    return [_fact("none", "Fills at the quoted spread earn money on average before fees.", words)]


def _spread(found: Mapping[str, Any]) -> list[Fact]:
    equilibrium, tick, quoted = found["equilibrium"], found["window"]["tick"], found["market"]["quoted_spread"]
    if "reason" in equilibrium:
        return []
    spread, low, high = (equilibrium[key] for key in ("full_spread", "full_spread_low", "full_spread_high"))
    facts = []
    band = f" (band {low / tick:.3g} to {high / tick:.3g})"
    figures = f"Equilibrium spread {spread / tick:.3g} ticks{band}; quoted, time-weighted, {quoted / tick:.3g} ticks."
    if spread < tick:
        figures += (
            " The equilibrium is below one tick, which nobody can quote: the tick binds here, and the game knows none."
        )
    if not low <= quoted <= high:
        ratio = quoted / spread if spread > 0 else math.inf
        words = (
            f"the quoted spread is {ratio:.2g} times the equilibrium's"
            if math.isfinite(ratio)
            else "the equilibrium's is not positive"
        )
        facts.append(_fact("warn", f"The equilibrium does not explain the real spread: {words}.", figures))
    else:
        facts.append(_fact("ok", "The real spread lies within the band of the equilibrium's.", figures))
    if equilibrium["edge_mass"] > 1e-3:
        share = equilibrium["edge_mass"]
        facts.append(
            _fact(
                "warn",
                f"Up to {share:.1%} of the makers stand at the inventory limits.",
                "The limits shape the quotes: raise max_inventory unless they are meant.",
            )
        )
    return facts


def _stability(found: Mapping[str, Any]) -> list[Fact]:
    facts = []
    sides = found["sides"]
    if sides is not None and sides["p_value"] < SIGNIFICANCE:
        facts.append(
            _fact("warn", "The two sides decay differently; the game has one decay.",
                f"Asks {sides['ask']:.4g}, bids {sides['bid']:.4g} per unit ({_p(sides['p_value'])})."))  # fmt: skip
    p_value = parts_p_value(found["parts"])
    if p_value is not None and p_value < SIGNIFICANCE:
        facts.append(
            _fact(
                "warn",
                "The parts of the day differ.",
                f"One set of arrivals and decay for all parts has {_p(p_value)}: fit the window that is traded.",
            )
        )
    silent = [part["part"] for part in found["parts"] if "reason" in part]
    if silent:
        facts.append(
            _fact(
                "warn",
                f"Part(s) {', '.join(map(str, silent))} of the day could not be fitted alone.",
                "The table of parts says why.",
            )
        )
    return facts


def parts_p_value(parts: Sequence[Mapping[str, Any]]) -> float | None:
    """Wald's test that all fitted parts have one set of coefficients; None with fewer than two of them."""
    from scipy.special import chdtrc

    fitted = [part for part in parts if "coefficients" in part]
    if len(fitted) < 2:
        return None
    values = [np.asarray(part["coefficients"]) for part in fitted]
    try:
        weights = [np.linalg.inv(np.asarray(part["covariance"])) for part in fitted]
        centre = np.linalg.solve(sum(weights), sum(w @ v for w, v in zip(weights, values, strict=True)))
    except np.linalg.LinAlgError:
        return None
    statistic = sum((v - centre) @ w @ (v - centre) for w, v in zip(weights, values, strict=True))
    return float(chdtrc(float((len(fitted) - 1) * centre.size), float(statistic)))


def _left_out(found: Mapping[str, Any]) -> list[Fact]:
    """What the fit does not see."""
    market, counts = found["market"], found["counts_of_the_fit"]
    facts = []
    if market["hidden_trades"]:
        share = market["hidden_trades"] / (market["hidden_trades"] + market["trades"])
        facts.append(
            _fact(
                "none",
                f"{share:.0%} of the trades met hidden orders and are in no count.",
                "They took no quote of the book.",
            )
        )
    if counts["unsigned_trades"]:
        facts.append(
            _fact(
                "none",
                f"{counts['unsigned_trades']:,} of {counts['trades']:,} trades have no known aggressor.",
                "They are left out.",
            )
        )
    return facts
