"""Numbers that compiled loops write again, because their cache does not see an edit of another file, are the same."""

from __future__ import annotations

import pytest

from data_pipeline.book import events
from data_pipeline.feeds.lobster import kernels as lobster
from data_pipeline.synthetic import order_book_kernels, order_book_rows

KINDS = ("DEPTH", "TRADE", "DEPTH_CLEAR", "SNAPSHOT", "ADD", "CANCEL", "MODIFY", "FILL", "EXCH", "LOCAL", "BUY", "SELL")
BOOK = ("NEW", "MOVE", "FILL", "CANCEL", "HIDDEN", "REDUCE", "CROSS", "HALT")


@pytest.mark.parametrize(
    ("copy", "source", "names"), [(lobster, events, KINDS), (order_book_rows, order_book_kernels, BOOK)]
)
def test_the_numbers_are_those_of_their_source(copy, source, names):
    assert {name: getattr(copy, name) for name in names} == {name: getattr(source, name) for name in names}
