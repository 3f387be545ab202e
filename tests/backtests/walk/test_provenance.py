from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backtests.walk.provenance import LIBRARIES, code_hash, library_versions, rows_hash
from data_pipeline.daily.panel import GRID_FIELDS, CorporateEvent, DailyPanel


def panel(seed: int = 0, rows: int = 20, events: tuple[CorporateEvent, ...] = ()) -> DailyPanel:
    rng = np.random.default_rng(seed)
    grids = {name: 1.0 + rng.random((rows, 3)) for name in GRID_FIELDS}
    return DailyPanel(
        sessions=np.datetime64("2023-01-02") + np.arange(rows),
        instruments=("AAAA3", "BBBB4", "CCCC3"),
        lot_size=np.full(3, 100),
        risk_free=rng.random(rows) * 1e-3,
        events=events,
        **grids,
    )


def split(ex: int, known: int, factor: float = 2.0) -> CorporateEvent:
    return CorporateEvent(0, ex, known, factor, 0.0, 0.0, "split", 1.0, "test")


def test_later_rows_and_events_not_yet_known_do_not_enter_the_hash_of_a_window():
    base = panel(events=(split(5, 5),))
    scrambled = {name: np.array(getattr(base, name)) for name in GRID_FIELDS}
    for grid in scrambled.values():
        grid[12:] = grid[12:][::-1] + 1.0
    later = replace(base, events=(split(5, 5), split(8, 14), split(15, 15)), **scrambled)
    assert rows_hash(base, range(2, 12)) == rows_hash(later, range(2, 12))
    assert rows_hash(base, range(2, 13)) != rows_hash(later, range(2, 13))
    assert rows_hash(later, range(2, 14)) != rows_hash(replace(later, events=(split(5, 5),)), range(2, 15))


@pytest.mark.parametrize("name", [*GRID_FIELDS, "risk_free"])
def test_each_number_of_the_window_enters_its_hash(name):
    base = panel()
    changed = np.array(getattr(base, name))
    changed[7] = np.nextafter(changed[7], 9.0)
    assert rows_hash(base, range(10)) != rows_hash(replace(base, **{name: changed}), range(10))


def test_dates_names_lots_and_events_enter_the_hash():
    base = panel(events=(split(5, 5),))
    others = (
        replace(base, sessions=base.sessions + np.timedelta64(1, "D")),
        replace(base, instruments=("AAAA3", "BBBB4", "DDDD3")),
        replace(base, lot_size=np.array([100, 1, 100])),
        replace(base, events=()),
        replace(base, events=(split(5, 5, 3.0),)),
    )
    hashes = {rows_hash(item, range(10)) for item in (base, *others)}
    assert len(hashes) == 6
    assert rows_hash(base, range(1, 10)) != rows_hash(base, range(10))


@pytest.mark.parametrize("rows", [range(0), range(5, 30), range(-1, 4), range(0, 10, 2)])
def test_rows_outside_the_panel_are_refused(rows):
    with pytest.raises(ValueError, match="rows must be consecutive rows of the panel"):
        rows_hash(panel(), rows)


def test_the_code_hash_follows_every_file_of_the_packages(tmp_path, monkeypatch):
    package = tmp_path / "room_of_test"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "part.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    first = code_hash(["room_of_test"])
    assert first == code_hash(["room_of_test"])
    (package / "inner" / "part.py").write_text("x = 2\n")
    second = code_hash(["room_of_test"])
    (package / "inner" / "part.py").rename(package / "inner" / "other.py")
    assert len({first, second, code_hash(["room_of_test"])}) == 3
    (package / "notes.txt").write_text("not code")
    assert code_hash(["room_of_test", "risk"]) == code_hash(["risk", "room_of_test"])


def test_a_package_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'no_such_room' is not"):
        code_hash(["no_such_room"])


def test_versions_name_python_and_each_library():
    assert set(library_versions()) == {"python", *LIBRARIES}
