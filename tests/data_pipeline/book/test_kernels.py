"""From which row on a price is beaten, against a search row by row."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.book.kernels import first_row_beyond


@given(worst=st.lists(st.integers(-3, 6), max_size=30), data=st.data())
def test_the_first_row_beyond_is_the_one_a_plain_search_finds(worst, data):
    rows = np.array(worst, dtype=np.int64)
    starts = data.draw(st.lists(st.integers(0, len(worst) - 1), max_size=8)) if worst else []
    start = np.array(sorted(starts, reverse=True), dtype=np.int64)
    limit = np.array([data.draw(st.integers(-4, 7)) for _ in starts], dtype=np.int64)
    found = np.empty(start.size, dtype=np.int64)
    first_row_beyond(start, limit, rows, np.empty_like(rows), found)
    plain = [
        next((r for r in range(s, rows.size) if rows[r] > price), rows.size)
        for s, price in zip(start, limit, strict=True)
    ]
    assert found.tolist() == plain
