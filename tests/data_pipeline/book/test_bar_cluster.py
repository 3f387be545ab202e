"""Bars computed by a Dask cluster of processes are the bytes that this process writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.book.bar_tasks import compute_bars
from data_pipeline.ingest import ingest
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_lobster
from data_pipeline.tasks.executor import DaskCluster


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(place)): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file() and p.name != ".lock"
    }


def test_a_cluster_writes_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "raw").mkdir()
    for day in (1, 2):
        events = simulate_book(BookConfig(seed=day, seconds=120.0))
        write_lobster(tmp_path / "raw", events, ticker="SYN", levels=1, day=f"2021-03-1{day}")
    for name in ("here", "there"):
        assert ingest(tmp_path / "raw", tmp_path / name).complete
    compute_bars(tmp_path / "here", ["time:10s", "tick:3"])
    report = compute_bars(tmp_path / "there", ["time:10s", "tick:3"], executor=DaskCluster("local:1"))
    assert len(report.made) == 2
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
