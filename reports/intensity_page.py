"""The page of a calibration: the verdict first, then estimates, fit, gaps, mark-outs, volatility and quotes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from reports.formats import integer, plain, significant, words
from reports.intensity_chapters import Arrays, chapters
from reports.page import render
from reports.tables import Cell, Grid, Row, light

PARAMETERS = (
    ("touch_ask_arrival", "Buyers at the mean best quote, who fill asks"),
    ("touch_bid_arrival", "Sellers at the mean best quote, who fill bids"),
    ("fill_decay", "k, decay of fills with distance"),
    ("competition", "c, competition: how far orders follow the crowd"),
    ("adverse_selection", "ξ, move of the mid against the maker"),
    ("volatility", "σ of the mid, noise taken out"),
    ("running_penalty", "η, cost of holding inventory"),
    ("terminal_penalty", "γ, cost of inventory at the end"),
    ("ask_arrival", "A of the game, asks"),
    ("bid_arrival", "A of the game, bids"),
)


def intensity_page(found: Mapping[str, Any], arrays: Arrays) -> str:
    """The page of a calibration, as text: self-contained, no scripts, the same bytes for the same input.

    Parameters
    ----------
    found : mapping
        The content of calibration.json.
    arrays : mapping of str to array
        The content of calibration.npz.
    """
    data, window = found["data"], found["window"]
    return render(
        "intensity.html.j2",
        {
            "title": found["title"],
            "subtitle": f"Market-making calibration: {data['feed']}, {data['instrument']}, {data['day']}, "
            f"{clock(window['start'])} to {clock(window['end'])} {data['clock']} time",
            "light": verdict_light(found),
            "facts": found["verdict"],
            "estimates": estimates_table(found),
            "estimates_words": estimates_words(found),
            "market": market_table(found),
            "chapters": chapters(found, arrays),
            "parts": parts_table(found),
            "data_words": data_words(found),
            "counts": counts_table("counts", data["counts"]),
            "fit_counts": counts_table("fit-counts", found["counts_of_the_fit"]),
            "notes": [*data["notes"], *found["notes"], *found["warnings"]],
            "provenance": _long_table("provenance", {**found["hashes"], **_versions(found)}),
            "configuration": _long_table("configuration", _flat(found["configuration"])),
        },
    )


def verdict_light(found: Mapping[str, Any]) -> Markup:
    """The worst level of the verdict as a traffic light."""
    levels = {fact["level"] for fact in found["verdict"]}
    if "bad" in levels:
        return light("bad", "rejected", "do not take the quotes below as this market's equilibrium")
    if "warn" in levels:
        return light("warn", "not rejected", "with reservations, below")
    return light("ok", "not rejected")


def clock(seconds: float) -> str:
    """Seconds after midnight as HH:MM:SS.

    >>> clock(34200.25)
    '09:30:00'
    """
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def estimates_words(found: Mapping[str, Any]) -> str:
    """What the units of the estimates are."""
    market = found["market"]
    return (
        f"One unit of inventory (lot) is {significant(market['lot'], 4)} shares or contracts; the mean incoming order "
        f"is {significant(market['mean_order_size'], 4)}, the median {significant(market['median_order_size'], 4)}. "
        f"Errors are robust to clustering ({integer(found['intensity']['blocks'])} blocks of time); beside them is "
        "what they would be if orders were Poisson."
    )


def estimates_table(found: Mapping[str, Any]) -> Grid:
    """Parameters with robust and Poisson errors."""
    rows: list[Row] = []
    for name, meaning in PARAMETERS:
        one = found["parameters"][name]
        model = significant(one["model_error"], 2) if "model_error" in one else ""
        # Zero is no precision: gamma is defined, and competition may be given or a default.
        error = significant(one["error"], 2) if one["error"] else "chosen"
        rows.append((meaning, one["unit"], significant(one["value"], 4), error, model))
    decay, tick = found["parameters"]["fill_decay"], found["window"]["tick"]
    if decay["value"] > 0:
        scale = 1.0 / decay["value"] ** 2 / tick
        length = significant(1.0 / decay["value"] / tick, 4)
        errors = (significant(decay[kind] * scale, 2) for kind in ("error", "model_error"))
        rows.insert(3, ("1/k, where fills have fallen to 37 %", "ticks", length, *errors))
    return Grid(key="estimates", head=("Parameter", "Unit", "Estimate", "Std. error", "If Poisson"), rows=rows, words=2)


def market_table(found: Mapping[str, Any]) -> Grid:
    """What the market showed by itself."""
    market, window = found["market"], found["window"]
    tick = window["tick"]
    low, middle, high = (significant(q / tick, 3) for q in market["quoted_spread_quantiles"])
    rows = [
        ("Quoted spread, time-weighted", f"{significant(market['quoted_spread'], 4)} {window['currency']}"),
        ("the same in ticks", significant(market["quoted_spread"] / tick, 4)),
        ("5 %, median, 95 % of the time, ticks", f"{low}, {middle}, {high}"),
        ("Mean mid", significant(market["mean_mid"], 6)),
        ("Time with both quotes", f"{integer(market['seconds_with_quotes'])} of {integer(market['seconds'])} s"),
        ("Visible trades", integer(market["trades"])),
        ("Trades of hidden orders, kept apart", integer(market["hidden_trades"])),
        ("Incoming orders behind the visible trades", integer(market["orders"])),
        ("Trades in an order", significant(market["trades_in_an_order"], 3)),
    ]
    orders = found["orders"]
    if orders is not None and "coefficients" in orders:
        decay = float(np.asarray(orders["coefficients"])[-1])
        error = float(np.asarray(orders["errors"])[-1])
        rows.append(("k met by resting orders in their queues", f"{significant(decay, 3)} ± {significant(error, 2)}"))
    return Grid(key="market", head=("What", "Figure"), rows=rows)


def parts_table(found: Mapping[str, Any]) -> Grid:
    """The fits of the parts of the day; arrivals are those at the mean best quote."""
    rows: list[Row] = []
    tick = found["window"]["tick"]
    for part in found["parts"]:
        name = f"{part['part']}: {clock(part['start'])} to {clock(part['end'])}"
        if "reason" in part:
            rows.append((name, *("" for _ in range(4)), Cell(part["reason"], "l long")))
            continue
        values, errors = np.asarray(part["coefficients"]), np.asarray(part["errors"])
        arrivals = [
            f"{significant(rate['value'], 3)} ± {significant(rate['error'], 2)}"
            for rate in (part[f"touch_{side}_arrival"] for side in ("ask", "bid"))
        ]
        k, e = float(values[-1]), float(errors[-1])
        length = significant(1 / k / tick, 3) if k > 0 else "none"
        rows.append(
            (name, integer(part["orders"]), *arrivals, f"{significant(k, 3)} ± {significant(e, 2)}", Cell(length, "n"))
        )
    return Grid(
        key="parts",
        head=("Part", "Orders", "Buyers, 1/s", "Sellers, 1/s", "k", "1/k, ticks"),
        rows=rows,
        empty="The window was not divided.",
    )


def data_words(found: Mapping[str, Any]) -> str:
    """What was read."""
    data = found["data"]
    lost = sum(end - start for start, end in data["gaps"])
    gaps = (
        f"{len(data['gaps'])} gaps of {significant(lost, 3)} s in all are left out"
        if data["gaps"]
        else "there is no gap"
    )
    return f"{', '.join(sorted(data['files']))}. Rules are counted over the whole files; in the window {gaps}."


def counts_table(key: str, counts: Mapping[str, Any]) -> Grid:
    """Counts by name."""
    rows = [
        (words(name), integer(value) if isinstance(value, int) else significant(value, 6))
        for name, value in sorted(counts.items())
    ]
    return Grid(key=key, head=("What", "How many"), rows=rows)


def _versions(found: Mapping[str, Any]) -> dict[str, str]:
    return {f"version of {name}": value for name, value in found["versions"].items()}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _long_table(key: str, values: Mapping[str, Any]) -> Grid:
    rows: list[tuple[str, Cell]] = [(name, Cell(plain(value), "l long mono")) for name, value in sorted(values.items())]
    return Grid(key=key, head=("What", "Value"), rows=rows, words=2)
