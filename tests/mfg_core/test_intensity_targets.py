import math

import pytest

from mfg_core.intraday.intensity_targets import game_with_spread, intensity_from_targets
from mfg_core.market.market_making import MarketMakingGame
from mfg_core.solve import solve_mfg

GAME = MarketMakingGame(
    ask_arrival=1.0,
    bid_arrival=1.0,
    fill_decay=0.5,
    running_penalty=0.01,
    terminal_penalty=0.1,
    horizon=2.0,
    max_inventory=12,
)


def test_targets_are_met_by_the_intensity():
    found = intensity_from_targets(rate_at_mid=20, flow_doubling_ticks=2, tick=0.05)
    assert found.arrival * 60 == pytest.approx(20, rel=1e-14)
    at = [found.arrival * math.exp(-found.fill_decay * distance) for distance in (0.3, 0.4)]
    assert at[0] / at[1] == pytest.approx(2.0, rel=1e-12)
    with pytest.raises(ValueError, match="tick must be finite and positive"):
        intensity_from_targets(rate_at_mid=20, flow_doubling_ticks=1, tick=0.0)


@pytest.mark.parametrize("parameter", ["fill_decay", "arrival", "running_penalty"])
def test_the_equilibrium_of_the_game_found_has_the_spread(parameter):
    # A game solved elsewhere gives a spread that can be reached, and its parameter is what must be found.
    factor = 1.7
    truth = {
        "fill_decay": {"fill_decay": 0.5 * factor},
        "arrival": {"ask_arrival": factor, "bid_arrival": factor},
        "running_penalty": {"running_penalty": 0.01 * factor},
    }[parameter]
    fields = {name: getattr(GAME, name) for name in GAME.__slots__}
    target = float(solve_mfg(MarketMakingGame(**(fields | truth))).full_spread[0])
    found = game_with_spread(GAME, target, parameter=parameter)
    # Spreads are solved to 1e-9; the parameters' effect on them is at least 1e-3 of theirs.
    assert float(solve_mfg(found).full_spread[0]) == pytest.approx(target, rel=1e-8)
    for name, value in truth.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-5)


def test_a_spread_out_of_reach_says_what_can_be_reached():
    with pytest.raises(ValueError, match=r"full_spread 3 is out of reach of running_penalty: from .* move another"):
        game_with_spread(GAME, 3.0, parameter="running_penalty")
    with pytest.raises(ValueError, match="parameter must be one of arrival"):
        game_with_spread(GAME, 4.0, parameter="horizon")
