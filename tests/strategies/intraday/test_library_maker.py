"""Quotes from a policy library: those of the solve on its grid, and refused for another market."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from strategies.intraday.library_maker import LibraryMaker
from strategies.intraday.mean_field_maker import MeanFieldMaker
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.quoting_kernels import table_quotes
from strategies.intraday.rule import Instrument
from strategies.policy_library_build import build_policy_library
from strategies.policy_library_plan import LibraryTolerances

pytestmark = pytest.mark.filterwarnings("ignore::mfg_core.errors.EdgeMassWarning")

TRAINING = IntradayTraining(
    instrument=Instrument("TEST", "NOWHERE", tick_size=0.5, lot_size=1.0),
    truth=MarketTruth(ask_arrival=1.2, bid_arrival=0.9, fill_decay=1.0, volatility=0.5, half_spread=0.4),
    sessions=("2024-01-02",),
    seconds=5.0,
    order_lots=1,
    max_position=3,
)
MAKER = MeanFieldMaker(competition=0.0, running_penalty=0.2, terminal_penalty=0.2)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    game = MAKER.game(TRAINING)
    axes = {"fill_decay": (0.9, 1.0, 1.2), "arrival_scale": (0.5, 1.0)}
    easy = LibraryTolerances(rtol=1e-8, atol=1e-11, time=1e-5, off_grid=1)
    return build_policy_library(tmp_path_factory.mktemp("libraries"), regimes=game, axes=axes, tolerances=easy)


def test_on_its_grid_a_library_gives_the_solved_quotes(library):
    pod = LibraryMaker(library=str(library.path), maker=MAKER)
    for changes in ({}, {"fill_decay": 1.2}, {"ask_arrival": 0.6, "bid_arrival": 0.45}):
        training = replace(TRAINING, truth=replace(TRAINING.truth, **changes))
        found, solved = pod.fit(training), MAKER.fit(training)
        for held in range(-3, 4):
            for to_close in (0.0, 0.7, 3.0, 5.0):
                both = [table_quotes(rule.table, rule.numbers, 0, float(held), to_close) for rule in (found, solved)]
                np.testing.assert_allclose(both[0], both[1], atol=2e-4)  # the tables' tolerances and the library's time
    assert json.loads(json.dumps(dict(found.notes)))["library"] == library.hash
    assert pod.parameters["library"] == library.hash


def test_another_market_than_the_librarys_is_refused(library):
    pod = LibraryMaker(library=str(library.path), maker=MAKER)
    with pytest.raises(
        ValueError, match=r"horizon of pod 'library_maker' must be 5\.0, the library's horizon, to within"
    ):
        pod.fit(replace(TRAINING, seconds=6.0))
    near = replace(pod, match=0.3).fit(replace(TRAINING, seconds=6.0))
    assert near.notes["apart"] == {"horizon": [5.0, 6.0]}
    with pytest.raises(ValueError, match="must hold the training's market: fill_decay must be in"):
        pod.fit(replace(TRAINING, truth=replace(TRAINING.truth, fill_decay=1.3)))
    with pytest.raises(ValueError, match=r"ask_arrival / bid_arrival of pod 'library_maker' must be 1\.33333"):
        pod.fit(replace(TRAINING, truth=replace(TRAINING.truth, ask_arrival=0.9)))
    with pytest.raises(ValueError, match=r"competition of pod 'library_maker' must be 0\.0"):
        replace(pod, maker=replace(MAKER, competition="share")).fit(TRAINING)
    with pytest.raises(ValueError, match="regime of pod 'library_maker' must be one of"):
        replace(pod, regime="none").fit(TRAINING)
    with pytest.raises(ValueError, match="library of pod 'library_maker' must be the folder"):
        LibraryMaker()
