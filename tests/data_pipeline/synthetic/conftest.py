"""A small exchange on disk, and its records read back by slicing bytes at B3's published columns."""

from __future__ import annotations

import json
import zipfile
from datetime import date
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_pipeline.synthetic import ExchangeConfig, write_exchange

# 1-based inclusive columns of the official layout
COLUMNS = {
    "date": (3, 10),
    "bdi": (11, 12),
    "ticker": (13, 24),
    "market": (25, 27),
    "name": (28, 39),
    "spec": (40, 49),
    "term": (50, 52),
    "currency": (53, 56),
    "open": (57, 69),
    "high": (70, 82),
    "low": (83, 95),
    "average": (96, 108),
    "close": (109, 121),
    "bid": (122, 134),
    "ask": (135, 147),
    "trades": (148, 152),
    "quantity": (153, 170),
    "value": (171, 188),
    "strike": (189, 201),
    "indexation": (202, 202),
    "expiry": (203, 210),
    "factor": (211, 217),
    "points": (218, 230),
    "isin": (231, 242),
    "distribution": (243, 245),
}
TEXT = ("bdi", "ticker", "name", "spec", "term", "currency", "isin")


def slice_records(content: bytes) -> dict[str, np.ndarray]:
    """Columns of the quote records of one file's text, by plain slicing; numbers as integers."""
    lines = content.split(b"\r\n")
    assert lines.pop() == b""
    quotes = [line for line in lines if line[:2] == b"01"]
    columns = {}
    for name, (first, last) in COLUMNS.items():
        values = [line[first - 1 : last] for line in quotes]
        columns[name] = np.array(values) if name in TEXT else np.array([int(value) for value in values])
    return columns


def read_member(path):
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        return name, archive.read(name)


@pytest.fixture(scope="package")
def config():
    return ExchangeConfig(
        seed=11,
        first_session=date(2020, 7, 1),
        last_session=date(2022, 6, 30),
        instruments=26,
        option_underlyings=2,
    )


@pytest.fixture(scope="package")
def exchange(tmp_path_factory, config):
    return write_exchange(tmp_path_factory.mktemp("exchange") / "small", config)


@pytest.fixture(scope="package")
def texts(exchange):
    """COTAHIST file name -> text of its member."""
    return {name: read_member(exchange.raw / name)[1] for name in exchange.records}


@pytest.fixture(scope="package")
def quotes(texts):
    """All quote records of the exchange, in file order."""
    parts = [slice_records(text) for text in texts.values()]
    return SimpleNamespace(**{name: np.concatenate([part[name] for part in parts]) for name in COLUMNS})


@pytest.fixture(scope="package")
def spot(quotes):
    """The spot records in (ticker, date) order."""
    cash = quotes.market == 10
    order = np.lexsort((quotes.date[cash], quotes.ticker[cash]))
    return SimpleNamespace(**{name: getattr(quotes, name)[cash][order] for name in COLUMNS})


@pytest.fixture(scope="package")
def truth(exchange):
    return json.loads((exchange.truth / "truth.json").read_text("utf-8"))


@pytest.fixture(scope="package")
def daily(exchange):
    return pq.read_table(exchange.truth / "daily.parquet").to_pandas()
