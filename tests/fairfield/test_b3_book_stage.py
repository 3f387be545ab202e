"""`fairfield synthetic-book` for B3's files, and what a store makes of them."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from fairfield.cli import app


@pytest.mark.parametrize(
    ("feed", "files", "words"),
    [
        ("b3_trades", 1, "trades_cancelled"),
        ("b3_old_trades", 1, "trades_without_aggressor"),
        ("b3_raw_orders", 2, "trades_at_the_best_price"),
    ],
)
def test_what_is_written_can_be_ingested(feed, files, words, tmp_path):
    folder = tmp_path / "raw"
    written = CliRunner().invoke(app, ["synthetic-book", str(folder), "--feed", feed, "--seconds", "60"])
    assert written.exit_code == 0, written.output
    assert len(list(folder.iterdir())) == files
    ingested = CliRunner().invoke(app, ["ingest", str(folder), "--store", str(tmp_path / "store")])
    assert ingested.exit_code == 0, ingested.output
    assert words in ingested.output
