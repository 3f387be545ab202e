"""The chapters of a calibration's page, made of its record and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.formats import integer, percent, probability, significant
from reports.intensity_view import Axis, Dots, Line, Picture, intervals, plot, quantile_plot
from reports.tables import Cell, Grid, Row

Arrays = Mapping[str, NDArray[Any]]
SIDES = (("ask", "buyers, who fill asks", "s0"), ("bid", "sellers, who fill bids", "s1"))
FEWEST_SEEN = 3
"""Orders below which a point of a picture is mostly luck and is left out."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """Pictures and tables that belong together."""

    anchor: str
    title: str
    sentence: str
    pictures: tuple[Picture, ...]
    tables: tuple[Grid, ...] = ()


def chapters(found: Mapping[str, Any], arrays: Arrays) -> tuple[Chapter, ...]:
    """Everything that the page draws; the equilibrium only when there is one."""
    quotes = () if "reason" in found["equilibrium"] else (_quotes(found, arrays),)
    return (
        *quotes,
        Chapter(
            "intensity",
            "Intensity by distance",
            "Orders per second that reach at least a distance from the mid. Points are counted, with two Poisson "
            "standard errors; lines are the fit over the same states of the market. " + _law_words(found),
            (*(_intensity(found, arrays, *side) for side in SIDES), *_parts(found, arrays)),
        ),
        _gaps(found, arrays),
        _after_fills(found, arrays),
    )


def _points(arrays: Arrays, prefix: str, tick: float, style: str) -> Dots:
    """Counted rates with two errors of their logarithm; a point that few orders reached is left out."""
    rate, error = arrays[f"{prefix}_rate"], arrays[f"{prefix}_rate_error"]
    seen = (rate > 0) & (rate**2 >= FEWEST_SEEN * error**2)  # a Poisson count is its value over its error, squared
    rate, width = rate[seen], np.exp(2.0 * error[seen] / rate[seen])
    return Dots(arrays[f"{prefix}_distance"][seen] / tick, rate, rate / width, rate * width, style)


def _law_words(found: Mapping[str, Any]) -> str:
    if found["parameters"]["competition"]["value"] > 0:
        return (
            "Orders follow the crowd, so that the law falls at k only behind the best quote, and the points, which mix "
            "spreads, more slowly; spreads of an odd and of an even number of ticks have rows of their own, half a "
            "tick apart. The line with a band is the law behind the best quote of the mean spread. The scale is "
            "logarithmic."
        )
    level = percent(found["configuration"]["uncertainty"]["level"], 0)
    return f"Their {level} bands are robust to clustering. On this logarithmic scale an exponential law is a line."


def _law(found: Mapping[str, Any], arrays: Arrays, prefix: str, name: str, style: str) -> list[Line]:
    """The fit beside the points: the law with its band when it is one line, else what it says at each distance."""
    tick, rate = found["window"]["tick"], arrays[f"{prefix}_rate"]
    floor = 0.1 * rate[rate > 0].min() if (rate > 0).any() else 0.0  # lower than anything counted
    if found["parameters"]["competition"]["value"] > 0:
        due, distance = arrays[f"{prefix}_expected_rate"], arrays[f"{prefix}_distance"] / tick
        half = np.rint(2.0 * distance) % 2 == 1
        rows = [np.flatnonzero(grid & (due > floor)) for grid in (half, ~half)]
        # The row of the usual spread has the name.
        rows.sort(key=lambda row: -float(arrays[f"{prefix}_seconds"][row].sum()))
        names = (name, "")
        lines = [Line(word, distance[row], due[row], style) for word, row in zip(names, rows, strict=True) if row.size]
        behind = (arrays[f"{prefix}_grid"] >= 0.5 * found["market"]["quoted_spread"]) & (
            arrays[f"{prefix}_fit"] > floor
        )
        if name != "fit" or not behind.any():  # parts of the day have two sides in one picture
            return lines
        grid, centre, low, high = (arrays[f"{prefix}_{part}"][behind] for part in ("grid", "fit", "low", "high"))
        return [*lines, Line("at the mean spread", grid / tick, centre, "sm", low, high)]
    shown = arrays[f"{prefix}_fit"] > floor
    grid, centre, low, high = (arrays[f"{prefix}_{part}"][shown] for part in ("grid", "fit", "low", "high"))
    return [Line(name, grid / tick, centre, style, low, high)]


def _intensity(found: Mapping[str, Any], arrays: Arrays, side: str, who: str, style: str) -> Picture:
    tick = found["window"]["tick"]
    test = found["quality"]["distances"][side]
    drawing = plot(
        f"intensity of {who} by distance",
        Axis("distance from the mid, ticks"),
        Axis("orders per second", log=True),
        _law(found, arrays, side, "fit", style),
        [_points(arrays, side, tick, "sm")],
    )
    words = f"Chi-square over {integer(test['bins'])} bins of distance, p value {probability(test['p_value'])}."
    return Picture(f"{who[:1].upper()}{who[1:]}", drawing, words)


def _parts(found: Mapping[str, Any], arrays: Arrays) -> tuple[Picture, ...]:
    from reports.intensity_page import clock

    tick, pictures = found["window"]["tick"], []
    for part in found["parts"]:
        prefix = f"part{part['part']}"
        if f"{prefix}_ask_grid" not in arrays:
            continue
        drawing = plot(
            f"intensity in part {part['part']} of the day",
            Axis("distance from the mid, ticks"),
            Axis("orders per second", log=True),
            [line for side, _, style in SIDES for line in _law(found, arrays, f"{prefix}_{side}", side, style)],
            [_points(arrays, f"{prefix}_{side}", tick, style) for side, _, style in SIDES],
        )
        title = f"Part {part['part']}: {clock(part['start'])} to {clock(part['end'])}"
        pictures.append(
            Picture(title, drawing, f"{integer(part['orders'])} orders, both sides fitted in this part alone.")
        )
    return tuple(pictures)


def _gaps(found: Mapping[str, Any], arrays: Arrays) -> Chapter:
    quality = found["quality"]
    lines = [(side, arrays[f"{side}_expected_uniform"], arrays[f"{side}_uniform"], style) for side, _, style in SIDES]
    gaps = quantile_plot("quantiles of the rescaled gaps between orders", lines)
    windows, dispersion = np.asarray(quality["windows"]), np.asarray(quality["dispersion"])
    counts = plot(
        "dispersion of counts by window",
        Axis("window, seconds", log=True),
        Axis("variance over mean", include=(0.0, 1.0)),
        [Line(side, windows, dispersion[row], style) for row, (side, _, style) in enumerate(SIDES)],
        [
            Dots(windows, dispersion[row], dispersion[row], dispersion[row], style)
            for row, (_, _, style) in enumerate(SIDES)
        ],
        levels=[(1.0, "Poisson")],
    )
    how = "p values by simulation" if quality["ask"]["replicates"] else "p values as if the parameters were known"
    rows = [
        (
            side,
            integer(quality[side]["orders"]),
            significant(quality[side]["statistic"], 3),
            Cell(probability(quality[side]["p_value"]), "bad" if quality[side]["p_value"] < 0.01 else ""),
            integer(quality[side]["ties"]),
            percent(quality[side]["branching"], 0),
            percent(quality[side]["branching_by_variance"], 0),
            significant(quality[side]["likelihood_gain"], 4),
        )
        for side, _, _ in SIDES
    ]
    head = (
        "Side",
        "Gaps",
        "KS distance",
        "p",
        "At one time stamp",
        "Set off by others (Hawkes)",
        "the same by variance",
        "Log-likelihood gained",
    )
    return Chapter(
        "gaps",
        "Are arrivals Poisson?",
        "The gaps between orders, in the time of the fitted intensity, are exponential when the model holds; counts in "
        "windows of any length vary as much as their mean.",
        (
            Picture(
                "Gaps against their law",
                gaps,
                "On the diagonal the model holds; below it on the left there are too many short gaps: clusters.",
            ),
            Picture(
                "How much counts vary", counts, "Above 1: more quiet and more busy spells than Poisson orders have."
            ),
        ),
        (Grid(key="gaps", head=head, rows=rows, note=f"{how[:1].upper()}{how[1:]}."),),
    )


def _after_fills(found: Mapping[str, Any], arrays: Arrays) -> Chapter:
    tick, horizons = found["window"]["tick"], arrays["mark_out_horizons"]
    impact, error = arrays["mark_out_impact"] / tick, arrays["mark_out_impact_error"] / tick
    half = 0.5 * found["market"]["quoted_spread"] / tick
    marks = plot(
        "move of the mid after fills by horizon",
        Axis("seconds after the fill", log=True),
        Axis("ticks against the maker", include=(0.0,)),
        [Line(name, horizons, impact[row], style, impact[row] - 2 * error[row], impact[row] + 2 * error[row])
         for row, (name, style) in enumerate((("asks", "s0"), ("bids", "s1")))],
        levels=[(half, "quoted half-spread")],
    )  # fmt: skip
    used = found["mark_out_horizon"]
    steps, variance = arrays["signature_step"], arrays["signature_variance"]
    scale = 1e4 / tick**2 if float(np.nanmax(variance)) / tick**2 < 1e-2 else 1.0 / tick**2
    unit = "ticks² per s" if scale * tick**2 == 1.0 else "ticks² per 10,000 s"
    spread = 2 * arrays["signature_error"]
    signature = plot(
        "volatility signature",
        Axis("sampling step, seconds", log=True),
        Axis(f"variance, {unit}", include=(0.0,)),
        [
            Line(
                "mids",
                steps,
                variance * scale,
                "s0",
                np.maximum(variance - spread, 0) * scale,
                (variance + spread) * scale,
            )
        ],
        levels=[(found["volatility"]["variance"] * scale, "noise taken out")],
    )
    return Chapter(
        "after",
        "After a fill, and volatility",
        "What the mid does once somebody has traded: the adverse selection of the game, and the risk of holding.",
        (
            Picture(
                "Mark-outs", marks, f"Bands are two standard errors, clustered. The game takes the value at {used:g} s."
            ),
            Picture(
                "Volatility signature",
                signature,
                "Rising to the left: quotes bounce; falling: moves go on. Were it flat, any step would do.",
            ),
        ),
    )


def _by_draws(drawn: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if drawn is None:
        return []
    ends = " to ".join(significant(drawn[end], 4) for end in ("low", "high"))
    return [(f"Band by {drawn['draws']} draws", ends)]


def _competitions(found: Mapping[str, Any]) -> Grid:
    """The equilibria of the same data at other competitions."""
    tick = found["window"]["tick"]
    rows: list[Row] = []
    for row in found["competitions"]:
        name = significant(row["competition"], 3) + (" (used)" if row["used"] else "")
        sides = "one rate" if row["symmetric"] else "as counted"
        if "reason" in row:
            rows.append((name, Cell(sides, "l"), "", "", Cell(row["reason"], "l long")))
            continue
        spread, skew = row["full_spread"], row["net_skew"]
        figures = (1.0 / row["fill_decay"], spread, 0.0 if abs(skew) < 1e-9 * abs(spread) else skew)
        rows.append((name, Cell(sides, "l"), *(significant(value / tick, 3) for value in figures)))
    return Grid(
        key="competitions",
        head=("Competition", "Arrivals", "1/k, ticks", "Full spread, ticks", "Skew, ticks"),
        rows=rows,
        note="A, k and the equilibrium, fitted again at each competition. Skew: mean ask less mean bid. At 1 the crowd "
        "turns nobody away, so that any difference of the arrivals, noise included, skews the quotes.",
    )


def _quotes(found: Mapping[str, Any], arrays: Arrays) -> Chapter:
    tick, market, equilibrium = found["window"]["tick"], found["market"], found["equilibrium"]
    level = percent(found["configuration"]["uncertainty"]["level"], 0)
    decay, xi = found["parameters"]["fill_decay"], found["parameters"]["adverse_selection"]
    low, _, high = (q / tick for q in market["quoted_spread_quantiles"])
    rows = [
        ("quoted, time-weighted", market["quoted_spread"] / tick, low, high, "sm"),
        (
            "equilibrium, crowd's mean",
            *(equilibrium[key] / tick for key in ("full_spread", "full_spread_low", "full_spread_high")),
            "s0",
        ),
        ("flat maker at the start", equilibrium["flat_spread"] / tick, float("nan"), float("nan"), "s0"),
        (
            "2 (1/k + ξ), no inventory cost",
            2 * (1 / decay["value"] + xi["value"]) / tick,
            float("nan"),
            float("nan"),
            "s2",
        ),
        ("2/k, no adverse selection", 2 / decay["value"] / tick, float("nan"), float("nan"), "s3"),
    ]
    spreads = intervals("full spreads", rows, "full spread, ticks")
    x = arrays["quote_inventory"]
    curves = plot(
        "equilibrium quotes by inventory",
        Axis("inventory, lots"),
        Axis("half-spread, ticks", include=(0.0,)),
        [Line(side, x, arrays[f"quote_{side}"] / tick, style,
              *(arrays[f"quote_{side}_{end}"] / tick for end in ("low", "high")))
         for side, _, style in SIDES],
        levels=[(0.5 * market["quoted_spread"] / tick, "quoted half-spread")],
    )  # fmt: skip
    width = significant(equilibrium["full_spread"] / tick, 3)
    return Chapter(
        "quotes",
        "Equilibrium quotes beside the real spread",
        f"The game with these estimates has a mean full spread of {width} ticks; the market quoted "
        f"{significant(market['quoted_spread'] / tick, 3)} (time-weighted). Bands ({level}) follow from the errors of "
        "the estimates, to first order; they know nothing of errors of the model.",
        (
            Picture(
                "Full spreads",
                spreads,
                "The bar of the quoted spread holds 90 % of the time, the other the errors of the estimates.",
            ),
            Picture(
                "Quotes by inventory at the start", curves, "Half-spreads that a maker posts; a long one asks less."
            ),
        ),
        (
            Grid(
                key="equilibrium",
                head=("Equilibrium", "Figure"),
                rows=[
                    ("Mean full spread", f"{significant(equilibrium['full_spread'], 4)} {found['window']['currency']}"),
                    (
                        "Band",
                        " to ".join(significant(equilibrium[f"full_spread_{end}"], 4) for end in ("low", "high")),
                    ),
                    *_by_draws(equilibrium["by_draws"]),
                    ("Fills of one maker, each side", f"{significant(equilibrium['fills_a_side'], 3)} per s"),
                    (
                        "Standard deviation of inventory at the end",
                        f"{significant(equilibrium['inventory_std_end'], 3)} lots",
                    ),
                    (
                        "Gain of one maker from leaving the policy",
                        significant(equilibrium["certificate"]["exploitability"], 2),
                    ),
                    ("Residual of the fixed point", significant(equilibrium["certificate"]["residual"], 2)),
                ],
            ),
            _competitions(found),
        ),
    )
