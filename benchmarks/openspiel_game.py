"""The market-making game as OpenSpiel can express it: discrete time, the crowd's quotes of the step before.

An OpenSpiel mean-field game knows the law of the states, not of the actions, so the last quotes are part of the state
and fills of a step depend on the crowd's quotes of the step before.
"""

from __future__ import annotations

import typing

import numpy as np
import pyspiel

TYPE = pyspiel.GameType(
    short_name="python_mfg_market_making",
    long_name="Python Mean Field Market Making",
    dynamics=pyspiel.GameType.Dynamics.MEAN_FIELD,
    chance_mode=pyspiel.GameType.ChanceMode.EXPLICIT_STOCHASTIC,
    information=pyspiel.GameType.Information.PERFECT_INFORMATION,
    utility=pyspiel.GameType.Utility.GENERAL_SUM,
    reward_model=pyspiel.GameType.RewardModel.REWARDS,
    max_num_players=1,
    min_num_players=1,
    provides_information_state_string=True,
    provides_information_state_tensor=False,
    provides_observation_string=True,
    provides_observation_tensor=False,
    parameter_specification={
        "steps": 10,
        "inventories": 11,
        "levels": 3,
        "horizon": 10.0,
        "lowest": 0.5,
        "highest": 3.5,
        "fill_decay": 0.5,
        "running_penalty": 0.01,
        "terminal_penalty": 0.1,
        "initial_std": 2.0,
    },
)
DECISION, CHANCE, CROWD = pyspiel.PlayerId.DEFAULT_PLAYER_ID, pyspiel.PlayerId.CHANCE, pyspiel.PlayerId.MEAN_FIELD


class Setup:
    """The numbers that all states share; a copy of a state must not copy them."""

    def __init__(self, given):
        self.given = given
        self.levels, self.steps = given["levels"], given["steps"]
        self.dt = given["horizon"] / self.steps
        self.quotes = np.linspace(given["lowest"], given["highest"], self.levels)
        self.states = np.arange(given["inventories"]) - given["inventories"] // 2
        law = np.exp(-0.5 * (self.states / given["initial_std"]) ** 2)
        self.law = law / law.sum()

    def __deepcopy__(self, memo):
        return self


class MarketGame(pyspiel.Game):
    """N steps, S inventories, A half-spreads a side; an action is (ask level, bid level)."""

    def __init__(self, params=None):
        given = {**TYPE.parameter_specification, **(params or {})}
        self.setup = Setup(given)
        info = pyspiel.GameInfo(
            num_distinct_actions=self.setup.levels**2,
            max_chance_outcomes=max(given["inventories"], 4),
            num_players=1,
            min_utility=-np.inf,
            max_utility=np.inf,
            utility_sum=None,
            max_game_length=self.setup.steps,
        )
        super().__init__(TYPE, info, params or {})

    def new_initial_state(self):
        return MarketState(self)

    def make_py_observer(self, iig_obs_type=None, params=None):
        return Observer()

    def max_chance_nodes_in_history(self):
        return self.setup.steps + 1


class Observer:
    """What a player sees: the state's text."""

    tensor = None
    dict: typing.ClassVar[dict] = {}

    def set_from(self, state, player):
        """Nothing to fill: there is no tensor."""

    def string_from(self, state, player):
        return str(state)


class MarketState(pyspiel.State):
    """Inventory index, last action and time; players alternate decision, chance, crowd."""

    def __init__(self, game):
        super().__init__(game)
        self.game, self.t, self.x, self.action = game.setup, 0, None, 0
        self.player = CHANCE
        middle = self.game.quotes[self.game.levels // 2]
        self.means = (middle, middle)
        self.paid = 0.0

    def _fill_odds(self):
        game, k = self.game, self.game.given["fill_decay"]
        ask, bid = divmod(self.action, game.levels)
        odds = [
            1.0 - np.exp(-game.dt * np.exp(k * (mean - game.quotes[level])))
            for mean, level in zip(self.means, (ask, bid), strict=True)
        ]
        return (odds[0] if self.x > 0 else 0.0), (odds[1] if self.x < len(game.states) - 1 else 0.0)

    def state_to_str(self, x, action, t, player):
        return "initial" if x is None else f"{t},{x},{action},{int(player)}"

    def _legal_actions(self, player):
        return list(range(self.game.levels**2)) if player == DECISION else []

    def chance_outcomes(self):
        if self.x is None:
            return list(enumerate(self.game.law))
        down, up = self._fill_odds()
        odds = [(1 - down) * (1 - up), down * (1 - up), up * (1 - down), down * up]
        return [(move, share) for move, share in enumerate(odds) if share > 0.0]

    def _apply_action(self, action):
        self.paid += self._rewards()
        if self.player == DECISION:
            self.action, self.player = action, CHANCE
        elif self.x is None:
            self.x, self.player = action, DECISION
        else:
            self.x += (0, -1, 1, 0)[action]
            self.t += 1
            self.player = CROWD

    def _action_to_string(self, player, action):
        return f"{player}:{action}"

    def distribution_support(self):
        game = self.game
        return [
            self.state_to_str(x, action, self.t, CROWD)
            for x in range(len(game.states))
            for action in range(game.levels**2)
        ]

    def update_distribution(self, distribution):
        game = self.game
        law = np.asarray(distribution).reshape(len(game.states), game.levels, game.levels)
        ask, bid = law[1:].sum(axis=(0, 2)), law[:-1].sum(axis=(0, 1))
        self.means = (float(ask @ game.quotes / ask.sum()), float(bid @ game.quotes / bid.sum()))
        self.player = DECISION

    def is_terminal(self):
        return self.t >= self.game.steps and self.player != CROWD

    def current_player(self):
        return pyspiel.PlayerId.TERMINAL if self.is_terminal() else self.player

    def _rewards(self):
        game, given = self.game, self.game.given
        if self.is_terminal():
            return float(-given["terminal_penalty"] * game.states[self.x] ** 2)
        if self.player == CHANCE and self.x is not None:
            down, up = self._fill_odds()
            ask, bid = divmod(self.action, game.levels)
            held = given["running_penalty"] * game.dt * game.states[self.x] ** 2
            return float(down * game.quotes[ask] + up * game.quotes[bid] - held)
        return 0.0

    def rewards(self):
        return [self._rewards()]

    def returns(self):
        return [self.paid + self._rewards()]

    def __str__(self):
        return self.state_to_str(self.x, self.action, self.t, self.player)


pyspiel.register_game(TYPE, MarketGame)
