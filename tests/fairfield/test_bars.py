"""`fairfield bars`, and `fairfield calibrate` from a store, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_pipeline.store import Store


@pytest.fixture(scope="module")
def stored(world, tmp_path_factory) -> Path:
    """A folder with a simulated LOBSTER day, its configuration, and a store with it."""
    folder = tmp_path_factory.mktemp("bars")
    assert world.fairfield("synthetic-book", folder, "--seconds", 900).exit_code == 0
    said = world.fairfield("ingest", *folder.glob("SYN_*.csv"), "--store", folder / "store")
    assert said.exit_code == 0, said.output
    return folder


def test_bars_are_made_once_and_checked(world, stored: Path) -> None:
    place = ("--store", stored / "store")
    said = world.fairfield("bars", *place, "--check")
    assert "missing: NASDAQ" in said.stdout
    world.refused(said, "missing or stale")
    world.refused(world.fairfield("bars", *place), "no session there has bars yet: say how to cut them")
    made = world.fairfield("bars", *place, "--rule", "time:60s", "--rule", "volume:5000", "--workers", 0)
    assert made.exit_code == 0, made.output
    rows = Store.open(stored / "store").table("bars")
    assert made.stdout == f"1 session made, {rows.num_rows:,} bars; 0 sessions unchanged\n"
    minutes = [count for rule, count in zip(*(rows[k].to_pylist() for k in ("rule", "trades")), strict=True)
               if rule == "time:60s"]  # fmt: skip
    assert sum(minutes) == Store.open(stored / "store").table("trades").num_rows
    again = world.fairfield("bars", *place, "--workers", 0)
    assert again.stdout == "0 sessions made, 0 bars; 1 session unchanged\n"
    assert world.fairfield("bars", *place, "--check").stdout == "1 session, all bars fresh\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rule", "daily"), "a bar rule must be like"),
        (("--rule", "tick:5", "--start", "soon"), "--start must be an ISO date"),
        (("--rule", "tick:5", "--venue", "NYSE"), "has no trades of that venue"),
        (("--rule", "tick:5", "--workers", 1, "--cluster", "local:1"), "workers must not be given with a cluster"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(world, stored: Path, arguments: tuple, words: str) -> None:
    world.refused(world.fairfield("bars", "--store", stored / "store", *arguments), words)


def from_store(text: str, session: str, store: Path) -> str:
    """A configuration that reads the store instead of its files."""
    kept = [line for line in text.splitlines() if not line.startswith(("feed =", "files ="))]
    place = kept.index("[data]") + 1
    data = [f'store = "{store}"', 'venue = "NASDAQ"', 'instrument = "SYN"', f"session = {session}"]
    return "\n".join([*kept[:place], *data, *kept[place:]])


def test_calibration_from_the_store_is_that_from_the_files(world, stored: Path) -> None:
    text = (stored / "calibrate.toml").read_text(encoding="utf-8")
    session = Store.open(stored / "store").table("trades")["session"][0].as_py().isoformat()
    (stored / "stored.toml").write_text(from_store(text, session, stored / "store"), encoding="utf-8")
    found = []
    for name in ("calibrate", "stored"):
        said = world.fairfield("calibrate", stored / f"{name}.toml", "--output", stored / f"out-{name}")
        assert said.exit_code == 0, said.output
        found.append(json.loads((stored / f"out-{name}" / "calibration.json").read_bytes())["parameters"])
    files, table = found
    for name in ("touch_ask_arrival", "touch_bid_arrival", "fill_decay", "adverse_selection"):
        assert table[name]["value"] == pytest.approx(files[name]["value"], rel=1e-9), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('venue = "NASDAQ"\n', ""), "venue must be given with store"),
        (("[data]\n", '[data]\nfeed = "lobster"\n'), "store must be given without feed and files"),
        (('store = "', 'store = "/nowhere'), "holds no store"),
    ],
)
def test_a_store_is_named_whole(world, stored: Path, tmp_path: Path, change: tuple[str, str], words: str) -> None:
    text = from_store((stored / "calibrate.toml").read_text(encoding="utf-8"), "2012-06-21", stored / "store")
    (tmp_path / "broken.toml").write_text(text.replace(*change), encoding="utf-8")
    world.refused(world.fairfield("calibrate", tmp_path / "broken.toml"), words)
