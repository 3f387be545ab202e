from dataclasses import replace

import pytest

from reports.folds_view import note_table
from reports.read_run import view_run


@pytest.fixture(scope="module")
def pod(run_folder):
    return view_run(run_folder).pods[0]


def test_a_note_of_many_folds_is_said_once_with_the_range_of_its_numbers(pod):
    notes = [
        "2 of 55 half-spreads have no quotes. eta1 estimate -0.08 (se 0.086) refused: prior 1.5 used.",
        "",
        "7 of 55 half-spreads have no quotes.",
        "4 of 55 half-spreads have no quotes.",
    ]
    edited = replace(pod, folds=pod.folds.assign(calibration_notes=notes))
    rows = [(row[0], row[1].text) for row in note_table([edited, edited]).rows]
    assert rows == [
        ("0, 2–3", "2 to 7 of 55 half-spreads have no quotes."),
        ("0", "eta1 estimate -0.08 (se 0.086) refused: prior 1.5 used."),
    ]
