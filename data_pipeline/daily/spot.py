"""Equity rows of the spot market as flat arrays, by instrument and session: the form that every rule here works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.errors import DataError

SPOT_MARKET: Final = 10
"""TPMERC of the round-lot spot market; odd lots (20), forwards, options and auctions are other markets."""

EQUITY_TYPES: Final = ("ACN", "CDA", "UNT")
"""ISIN security types (characters 7-9) of shares, depositary certificates of shares and units."""

SPOT_COLUMNS: Final = (
    "session",
    "ticker",
    "market_type",
    "specification",
    "open_cents",
    "high_cents",
    "low_cents",
    "close_cents",
    "bid_cents",
    "ask_cents",
    "trade_count_mod",
    "quantity",
    "traded_value_cents",
    "quotation_factor",
    "isin",
    "distribution",
)
"""Store columns that the spot rows are made of."""


@dataclass(frozen=True, slots=True)
class SpotRows:
    """Spot rows of R records, sorted by instrument, then session.

    Prices are R$ per share (the file's price divided by its quotation factor); a missing quote is NaN.

    Attributes
    ----------
    instruments : tuple of str
        Name of each instrument: its first ticker.
    offsets : (N + 1,) int64
        Rows of instrument i are offsets[i]:offsets[i + 1].
    session : (R,) datetime64[D]
    ticker, isin, specification : (R,) object
        As in the file.
    open, high, low, close, bid, ask : (R,) float64
    trade_count_mod, quantity : (R,) int64
    traded_value : (R,) float64
        R$.
    quotation_factor, distribution : (R,) int64
    """

    instruments: tuple[str, ...]
    offsets: NDArray[np.int64]
    session: NDArray[np.datetime64]
    ticker: NDArray[np.object_]
    isin: NDArray[np.object_]
    specification: NDArray[np.object_]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    bid: NDArray[np.float64]
    ask: NDArray[np.float64]
    trade_count_mod: NDArray[np.int64]
    quantity: NDArray[np.int64]
    traded_value: NDArray[np.float64]
    quotation_factor: NDArray[np.int64]
    distribution: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of rows."""
        return int(self.session.size)

    def instrument_of_row(self) -> NDArray[np.int64]:
        """Return the instrument index of each row, (R,)."""
        return np.repeat(np.arange(len(self.instruments), dtype=np.int64), np.diff(self.offsets))

    def rows_of(self, instrument: int) -> slice:
        """Return the rows of one instrument."""
        return slice(int(self.offsets[instrument]), int(self.offsets[instrument + 1]))


_ROW_FIELDS: Final = tuple(f.name for f in fields(SpotRows) if f.name not in ("instruments", "offsets"))


def rights_state(specification: str) -> str:
    """Return the rights state ("EB", "EDJ", ...; "" for none) of an ESPECI field, its columns 5-7.

    Examples
    --------
    >>> rights_state("ON  EDJ NM")
    'EDJ'
    """
    return specification[4:7].strip()


def share_class(specification: str) -> str:
    """Return the class ("ON", "PN", "PNA", "UNT", ...) of an ESPECI field, its columns 1-3."""
    return specification[:3].strip()


def is_equity(isin: pa.ChunkedArray | pa.Array, types: Sequence[str] = EQUITY_TYPES) -> pa.ChunkedArray | pa.Array:
    """Return which ISINs are of the given security types."""
    return pc.is_in(pc.utf8_slice_codeunits(isin, 6, 9), value_set=pa.array(list(types), pa.string()))


def spot_rows(table: pa.Table, types: Sequence[str] = EQUITY_TYPES) -> SpotRows:
    """Return the equity spot rows of a store table, in any order of rows.

    Rows are chosen by market type 010 and ISIN type, not by CODBDI: a filter on CODBDI 02 would drop companies
    exactly when they get into trouble.

    Raises
    ------
    DataError
        When one ticker has two rows in one session.
    """
    keep = pc.and_(
        pc.equal(table["market_type"], pa.scalar(SPOT_MARKET, table["market_type"].type)),
        is_equity(table["isin"], types),
    )
    table = table.select(list(SPOT_COLUMNS)).filter(keep).sort_by([("ticker", "ascending"), ("session", "ascending")])
    ticker = _texts(table, "ticker")
    session = table["session"].to_numpy().astype("datetime64[D]")
    new = np.ones(ticker.size, dtype=np.bool_)
    new[1:] = ticker[1:] != ticker[:-1]
    repeated = ~new[1:] & (session[1:] == session[:-1])
    if np.any(repeated):
        row = int(np.flatnonzero(repeated)[0]) + 1
        raise DataError(f"{ticker[row]} has two spot rows in session {session[row]}: ingest the files again")
    starts = np.flatnonzero(new)
    factor = _integers(table, "quotation_factor")
    return SpotRows(
        instruments=tuple(str(name) for name in ticker[starts]),
        offsets=np.append(starts, ticker.size).astype(np.int64),
        session=session,
        ticker=ticker,
        isin=_texts(table, "isin"),
        specification=_texts(table, "specification"),
        trade_count_mod=_integers(table, "trade_count_mod"),
        quantity=_integers(table, "quantity"),
        traded_value=_integers(table, "traded_value_cents") / 100.0,
        quotation_factor=factor,
        distribution=_integers(table, "distribution"),
        **{name: _price(table, f"{name}_cents", factor) for name in ("open", "high", "low", "close", "bid", "ask")},
    )


def chain_instruments(rows: SpotRows, continues: Mapping[str, str]) -> tuple[SpotRows, int]:
    """Return the rows with renamed instruments joined under their first name, and the rows dropped for overlap.

    Parameters
    ----------
    rows : SpotRows
        As `spot_rows` gives them.
    continues : mapping
        New instrument name to old name; chains of several renames are followed.

    Notes
    -----
    Where the old ticker trades again on or after the first session of the new one, its rows from then on belong to
    nobody known and are dropped; the number is returned to be reported.
    """
    index = {name: i for i, name in enumerate(rows.instruments)}
    owner = np.arange(len(rows.instruments), dtype=np.int64)
    ends = np.full(len(rows.instruments), np.datetime64("9999-12-31"), dtype="datetime64[D]")
    for new, old in continues.items():
        ends[index[old]] = rows.session[rows.offsets[index[new]]]
    for new in continues:
        root = new
        while root in continues:
            root = continues[root]
        owner[index[new]] = index[root]
    instrument = rows.instrument_of_row()
    keep = rows.session < ends[instrument]
    order = np.lexsort((rows.session, owner[instrument]))
    order = order[keep[order]]
    owned = owner[instrument][order]
    used, counts = np.unique(owned, return_counts=True)
    chained = replace(
        rows,
        instruments=tuple(rows.instruments[i] for i in used),
        offsets=np.append(0, np.cumsum(counts)).astype(np.int64),
        **{name: getattr(rows, name)[order] for name in _ROW_FIELDS},
    )
    return chained, int(rows.size - order.size)


def _texts(table: pa.Table, name: str) -> NDArray[np.object_]:
    # dictionary first: one Python string per distinct value, not per row
    encoded = table[name].combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    words = np.array(encoded.dictionary.to_pylist(), dtype=object)
    return words[encoded.indices.to_numpy(zero_copy_only=False)] if len(words) else np.empty(0, dtype=object)


def _integers(table: pa.Table, name: str) -> NDArray[np.int64]:
    values: NDArray[Any] = table[name].to_numpy()
    return values.astype(np.int64)


def _price(table: pa.Table, name: str, factor: NDArray[np.int64]) -> NDArray[np.float64]:
    cents = table[name].cast(pa.float64()).to_numpy()
    return np.asarray(cents / (100.0 * factor), dtype=np.float64)
