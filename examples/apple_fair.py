"""A fair of many apple stalls, told with numbers that are computed on the spot: python examples/apple_fair.py

Prices are in cents around the going price of a crate, time in minutes. Nothing here needs to be known beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from textwrap import fill

from mfg_core import MarketMakingEquilibrium, MarketMakingGame, MixedMarketMakingGame, solve_mfg
from mfg_core.market.maker_types import MixedMarketMakingEquilibrium

FAIR = MarketMakingGame(
    ask_arrival=0.25,  # buyers a minute who stop at a stall that is as cheap as the others
    bid_arrival=0.25,  # farmers a minute who bring a crate
    fill_decay=0.05,  # per cent: a stall 14 cents worse than the others loses half of its customers
    running_penalty=0.004,  # cents per crate squared and minute: apples in the way
    terminal_penalty=1.5,  # cents per crate squared left over at closing time
    horizon=240.0,  # minutes
    max_inventory=24,  # crates that a stall can hold, or owe
)
TIGHTER = 10.0
"""Cents by which the other stalls come closer to the going price in one of the questions below."""

FEE = 4.0
"""Cents per crate that the town asks in another."""


@dataclass(frozen=True)
class Fair:
    """Every solved game of the story."""

    crowd: MarketMakingEquilibrium
    relaxed: MarketMakingEquilibrium
    against_usual: MarketMakingEquilibrium
    against_tighter: MarketMakingEquilibrium
    taxed: MarketMakingEquilibrium
    alone: MarketMakingEquilibrium
    alone_taxed: MarketMakingEquilibrium
    nervous: MixedMarketMakingEquilibrium


def solve_fair() -> Fair:
    """Solve the fair and its variants."""
    crowd = solve_mfg(FAIR)
    usual = float(crowd.mean_field.ask[0])
    alone = replace(FAIR, competition=0.0)
    nervous = replace(FAIR, running_penalty=10 * FAIR.running_penalty, max_inventory=16)
    return Fair(
        crowd=crowd,
        relaxed=solve_mfg(replace(FAIR, running_penalty=0.0, terminal_penalty=0.0, max_inventory=60)),
        against_usual=solve_mfg(facing(usual)),
        against_tighter=solve_mfg(facing(usual - TIGHTER)),
        taxed=solve_mfg(replace(FAIR, maker_fee=FEE)),
        alone=solve_mfg(alone),
        alone_taxed=solve_mfg(replace(alone, maker_fee=FEE)),
        nervous=solve_mfg(MixedMarketMakingGame(makers=(FAIR, nervous), shares=(0.9, 0.1)), rtol=1e-7),
    )


def facing(quote: float) -> MarketMakingGame:
    """One stall among others who all quote `quote` cents whatever happens: their distance only scales the arrivals."""
    scale = math.exp(FAIR.fill_decay * quote)
    return replace(FAIR, competition=0.0, ask_arrival=FAIR.ask_arrival * scale, bid_arrival=FAIR.bid_arrival * scale)


def half_spreads(stall: MarketMakingEquilibrium, minute: float, crates: int) -> tuple[float, float]:
    """(buys this many cents below the going price, sells this many cents above it)."""
    bid, ask = stall.policy.quotes(minute, crates)
    return float(bid), float(ask)


def swing(stall: MarketMakingEquilibrium) -> float:
    """Largest standard deviation of a stall's crates."""
    return math.sqrt(float(stall.inventory_variance.max()))


def story(fair: Fair) -> list[str]:
    """The paragraphs."""
    crowd, flat = fair.crowd, FAIR.max_inventory
    buy, sell = half_spreads(crowd, 0.0, 0)
    at_noon, at_close = half_spreads(crowd, 120.0, 5), half_spreads(crowd, 239.0, 5)
    loses = 1.0 - math.exp(-FAIR.fill_decay * TIGHTER)
    follow = half_spreads(fair.against_usual, 0.0, 5)[1] - half_spreads(fair.against_tighter, 0.0, 5)[1]
    worth = [game.value[0, flat] / 100.0 for game in (fair.against_usual, fair.against_tighter)]
    passed_on = half_spreads(fair.taxed, 0.0, 0)[1] - sell
    pay = [game.value[0, flat] / 100.0 for game in (crowd, fair.taxed, fair.alone, fair.alone_taxed)]
    calm, nervous = fair.nervous.makers
    flow = crowd.mean_field.ask_fill_rate / FAIR.ask_arrival
    surely = max(crowd.certificate.exploitability, math.ulp(float(crowd.value.max())))
    near = float(crowd.derisk_probability(2.5)[-1])
    return [
        "A FAIR. There are many apple stalls. Each buys crates from farmers a little below the going price, sells them "
        "a little above it, and lives on the difference. Who asks too much sees customers walk on to the next stall; "
        "who asks too little works for nothing. A stall that has bought too much must carry it home.",
        "THE CROWD. Every stall looks at the same thing: what the others ask on average. It answers in the way that is "
        "best for itself, and its answer is part of that average. Prices at which nobody wants to change anything, "
        "while everybody does the same sums, are the equilibrium. It is what this program computes.",
        f"A FIRST NUMBER. If carrying apples cost nothing, every stall would stand "
        f"{half_spreads(fair.relaxed, 0.0, 0)[1]:.2f} cents from the going price on both sides, whatever it holds: one "
        f"over the decay of {FAIR.fill_decay} per cent.",
        f"QUOTES. Carrying apples does cost. In the morning an empty stall buys {buy:.2f} cents below and sells "
        f"{sell:.2f} cents above. With five crates too many at half time it buys {at_noon[0]:.2f} below and sells "
        f"{at_noon[1]:.2f} above: both prices go down, so that more crates leave than come.",
        f"CLOSING TIME. One minute before the end, with the same five crates, it buys only {at_close[0]:.2f} below and "
        f"sells {at_close[1]:.2f} above the going price"
        + (", that is below it" if at_close[1] < 0 else "")
        + f". What is left over must go home. So {100 * near:.0f}% of the stalls end with at most two crates too many "
        "or too few.",
        f"A TIGHTER CROWD. Suppose that the others all came {TIGHTER:.0f} cents closer. A stall that stays where it is "
        f"loses {100 * loses:.0f}% of its customers. Should it follow? Hardly: with five crates it lowers its selling "
        f"price by {follow:.2f} cents. Those who still come are just as choosy as before, so that the best margin is "
        "the same; only, crates now take longer to sell. What changes is its income: EUR "
        f"{worth[1]:.2f} instead of EUR {worth[0]:.2f} a day.",
        f"A FEE. The town asks {FEE:.0f} cents per crate. All stalls add {passed_on:.2f} cents to their distance, "
        f"customers find every stall equally dearer, and a stall earns EUR {pay[1]:.2f} instead of EUR {pay[0]:.2f}: "
        "the customers pay the fee. A stall whose customers could stay at home has no such luck: it earned EUR "
        f"{pay[2]:.2f} and now EUR {pay[3]:.2f}.",
        "A NERVOUS OWNER. One stall in ten hates to see crates pile up, ten times as much as the others. Holding five, "
        f"it sells {half_spreads(nervous, 120.0, 5)[1]:.2f} cents above the going price when the others sell "
        f"{half_spreads(calm, 120.0, 5)[1]:.2f} above. Its stock varies by {swing(nervous):.1f} crates instead of "
        f"{swing(calm):.1f}, and it earns EUR {nervous.value[0, nervous.game.max_inventory] / 100:.2f} instead of EUR "
        f"{calm.value[0, flat] / 100:.2f}, its nerves included.",
        f"MORE THAN ALL. Together the stalls sell up to {float(flow.max()):.3f} times the crates that they would sell "
        "if all asked the same: customers find the stalls that happen to be cheap, and nobody stays at home.",
        "HOW SURE. If any one stall were told all of this and could choose any other prices all day, it would gain "
        f"less than {math.ceil(1e9 * surely)} billionth of a cent.",
    ]


def main() -> None:
    """Print the story."""
    for paragraph in story(solve_fair()):
        print(fill(paragraph, width=100), end="\n\n")


if __name__ == "__main__":
    main()
