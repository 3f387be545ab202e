"""One rule under every fill model that the data allow, reported together: what depends on the model is marked.

Whether a resting order would have been filled cannot be seen in a feed that it was not part of. `fill_bounds` therefore
never gives one number: trade-through is what the prints alone prove, an assumed queue (larger and smaller) says what a
place would have been worth, the book's models move that place with what the feed shows, exact follows the orders, and
Poisson is the fit that the policy came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.gains import BLOCKS, LEVEL, Gain, gain_of
from backtests.intraday.poisson_bound import PoissonBound
from backtests.intraday.profit import HORIZONS
from backtests.intraday.queue_guess import QueueGuess
from backtests.intraday.quote_path import events_source, quote_path
from backtests.intraday.session_account import SessionAccount, account_record, plain, session_account
from backtests.intraday.settings import FillSettings, QueueModel, TradingSpan
from backtests.intraday.simulator import simulate_session
from data_pipeline.book.events import KIND_MASK, TRADE
from strategies.intraday.rule import Instrument, Rule

LOWER, MODEL, FIT = "lower bound", "model", "fit"


@dataclass(frozen=True, slots=True)
class FillModel:
    """A fill model by name: its queue, what kind of answer it is, and what it assumes in a sentence."""

    name: str
    queue: QueueModel
    kind: str
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class BoundRow:
    """A rule under one model.

    Attributes
    ----------
    model : FillModel
    accounts : tuple of SessionAccount
        One a session.
    """

    model: FillModel
    accounts: tuple[SessionAccount, ...]

    @property
    def gain(self) -> Gain:
        """The profit after fees and how sure it is."""
        return gain_of(*(account.gains for account in self.accounts))


@dataclass(frozen=True, slots=True, eq=False)
class FillBounds:
    """A rule under all models.

    Attributes
    ----------
    rule : str
    instrument : Instrument
    reference : "quotes" or "last trade"
    rows : tuple of BoundRow
        The models that were simulated on the events.
    poisson : PoissonBound or None
        Profit by session under fills at the calibrated rates.
    guess : QueueGuess
    print_share : float
        Largest share of each print that a fill may take.
    """

    rule: str
    instrument: Instrument
    reference: str
    rows: tuple[BoundRow, ...]
    poisson: PoissonBound | None
    guess: QueueGuess
    print_share: float

    @property
    def verdicts(self) -> dict[str, tuple[int, int]]:
        """By model: the profit's sign, and the sign that is significant (0: none)."""
        found = {row.model.name: (int(np.sign(row.gain.total)), row.gain.verdict) for row in self.rows}
        if self.poisson is not None:
            found["poisson"] = (int(np.sign(self.poisson.mean)), self.poisson.verdict)
        return found

    @property
    def model_dependent(self) -> bool:
        """Whether the sign of the profit, or what is significant of it, differs between the models."""
        return len(set(self.verdicts.values())) > 1

    @property
    def why(self) -> str:
        """The mark in a sentence."""
        accounts = [account for row in self.rows for account in row.accounts]
        if accounts and not any(one.orders.orders or one.gains.any() for one in accounts):
            hint = (
                " With trades alone a maker quotes with reference = last_trade." if self.reference != "quotes" else ""
            )
            return f"No order was sent under any model: nothing is known of this rule.{hint}"
        verdicts = self.verdicts
        sure = {verdict for _, verdict in verdicts.values()}
        words = {1: "a profit", -1: "a loss", 0: "nothing sure"}
        told = "; ".join(
            f"{words[sign]} by {', '.join(name for name, (_, verdict) in verdicts.items() if verdict == sign)}"
            for sign in (1, -1, 0)
            if sign in sure
        )
        if not self.model_dependent:
            return f"All models agree: {told}."
        if {1, -1} <= sure:
            return f"Model dependent, models contradict each other: {told}."
        if len(sure) > 1:
            return f"Model dependent: {told}."
        return f"Model dependent in sign only: {told}."

    def table(self) -> list[dict[str, Any]]:
        """One row a model, JSON types; money, lots, ticks, shares; `move` is the first horizon's for resting fills."""
        rows = [_table_row(row) for row in self.rows]
        return rows if self.poisson is None else [*rows, self.poisson.table_row()]

    def record(self) -> dict[str, Any]:
        """All of it, JSON types: the table, the mark, and each model's whole account."""
        return {
            "rule": self.rule,
            "instrument": self.instrument.symbol,
            "venue": self.instrument.venue,
            "reference": self.reference,
            "queue_guess": {"low": self.guess.low, "high": self.guess.high, "words": self.guess.words},
            "print_share": self.print_share,
            "table": self.table(),
            "model_dependent": self.model_dependent,
            "why": self.why,
            "models": {row.model.name: account_record(row.accounts) for row in self.rows},
            "words": {row.model.name: row.model.words for row in self.rows},
            "level": LEVEL,
        }


def fill_bounds(
    events: NDArray[Any],
    rule: Rule,
    instrument: Instrument,
    span: TradingSpan,
    settings: FillSettings,
    guess: QueueGuess,
    *,
    poisson: PoissonBound | None = None,
    models: Sequence[FillModel] | None = None,
    print_share: float = 1.0,
    horizons: Sequence[float] = HORIZONS,
    blocks: int = BLOCKS,
) -> FillBounds:
    """The rule over one session under every model that its events allow.

    Parameters
    ----------
    events : (n,) of EVENT_DTYPE
    rule, instrument, span
        As for `simulate_session`.
    settings : FillSettings
        Latency, fees, limits and sizes of all models; its queue is replaced by each model's.
    guess : QueueGuess
        From the past (`queue_guess`): the assumed queues.
    poisson : PoissonBound, optional
        `poisson_bound` of the policy in the market that it was fitted to.
    models : sequence of FillModel, optional
        By default all that `fill_models` gives for the events.
    print_share : float
        Where there are trades alone: of each print this share is there to be had, so that no fill takes more of it.
        The rule sees the prints so, too: their lots, not their number.
    horizons : sequence of float
        Seconds after fills for the mark-outs.
    blocks : int
        Equal pieces of the session from which the profit's error comes.

    Raises
    ------
    ValueError
        When an argument breaks a rule.
    """
    if not 0 < print_share <= 1:
        raise ValueError(f"print_share must be above 0 and at most 1; was {print_share}")
    source = events_source(events)
    if print_share < 1:
        if source != "trades":
            raise ValueError("print_share must be 1 where there is a book: what stood there is known")
        events, guess = (
            capped_prints(events, print_share),
            replace(guess, low=guess.low * print_share, high=guess.high * print_share),
        )
    path = quote_path(events, instrument, until=span.stop)
    rows = []
    for model in models if models is not None else fill_models(source, guess):
        assumed = replace(settings, queue=model.queue)
        outcome = simulate_session(events, rule, instrument, span, assumed, sample_every=0)
        rows.append(BoundRow(model, (session_account(outcome, path, span, assumed, horizons=horizons, blocks=blocks),)))
    return FillBounds(rule.name, instrument, path.reference, tuple(rows), poisson, guess, print_share)


def join_bounds(sessions: Sequence[FillBounds]) -> FillBounds:
    """The same rule over several sessions: accounts of each model one after the other.

    Raises
    ------
    ValueError
        When rules, instruments or models differ.
    """
    if not sessions:
        raise ValueError("sessions must hold at least one; was empty")
    first = sessions[0]
    names = [row.model.name for row in first.rows]
    for other in sessions[1:]:
        if (other.rule, other.instrument) != (first.rule, first.instrument) or [
            r.model.name for r in other.rows
        ] != names:
            raise ValueError("sessions must be of one rule, instrument and list of models")
    rows = tuple(
        BoundRow(row.model, tuple(account for one in sessions for account in one.rows[place].accounts))
        for place, row in enumerate(first.rows)
    )
    bounds = [one.poisson for one in sessions if one.poisson is not None]
    poisson = PoissonBound.joined(bounds) if len(bounds) == len(sessions) else None
    return replace(first, rows=rows, poisson=poisson)


def fill_models(source: str, guess: QueueGuess) -> tuple[FillModel, ...]:
    """The models that events of a source ("l3", "l2", "best", "trades") allow, the strictest first."""
    models = [
        FillModel(
            "trade_through",
            QueueModel("trade_through"),
            LOWER,
            "only prints beyond the price fill: no queue is ever served",
        ),
        FillModel(
            "assumed_high",
            QueueModel("assumed", assumed_lots=guess.high),
            MODEL,
            f"{guess.high:.4g} lots are ahead on arrival and only trades at the price use them up",
        ),
        FillModel(
            "assumed_low",
            QueueModel("assumed", assumed_lots=guess.low),
            MODEL,
            f"{guess.low:.4g} lots are ahead on arrival and only trades at the price use them up",
        ),
    ]
    if source != "trades":
        models += [
            FillModel(
                "pessimistic",
                QueueModel("pessimistic"),
                MODEL,
                "the level shown is ahead; withdrawals are taken to be behind",
            ),
            FillModel(
                "probabilistic",
                QueueModel("probabilistic"),
                MODEL,
                "withdrawals are shared between ahead and behind by the power function, exponent 3",
            ),
        ]
    if source == "l3":
        models.append(FillModel("exact", QueueModel("exact"), MODEL, "the orders ahead are followed one by one"))
    return tuple(models)


def capped_prints(events: NDArray[Any], share: float) -> NDArray[Any]:
    """A copy whose trades have `share` of their quantity: what of each print is there to be had."""
    capped = events.copy()
    trades = (capped["ev"] & np.uint64(KIND_MASK)) == TRADE
    capped["qty"][trades] *= share
    return capped


def _table_row(row: BoundRow) -> dict[str, Any]:
    record = account_record(row.accounts)
    gain, money = row.gain, record["money"]
    resting = [cell for cell in record["mark_outs"] if cell["role"] == "maker" and cell["side"] == "both"]
    return dict(
        plain(
            {
                "model": row.model.name,
                "kind": row.model.kind,
                "profit": gain.total,
                "error": gain.error,
                "t": gain.t,
                "verdict": gain.verdict,
                **{name: float(money[name]) for name in ("captured", "crossed", "liquidated", "inventory", "fees")},
                "fills": record["orders"]["fills"],
                "lots": record["orders"]["lots_filled"],
                "fill_ratio": record["orders"]["fill_ratio_lots"],
                "touch_share": record["orders"]["touch_share"],
                "moves": [[cell["seconds"], cell["move"], cell["move_error"]] for cell in resting],
                "mean_absolute_inventory": record["inventory"]["mean_absolute"],
                "uptime_both": record["uptime"]["both"],
                "positions_left": record["positions_left"],
            }
        )
    )
