"""Fixtures shared by every room's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure, so examples have no deadline; a landing is judged on fixed examples, every run by hand
# draws new ones.
settings.register_profile("by hand", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "by hand")

REPOSITORY = Path(__file__).resolve().parents[1]


def find_realdata() -> Path | None:
    """Folder of the real market files, or None."""
    named = os.environ.get("FAIRFIELD_REALDATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of the real market files; the test is skipped where it is absent."""
    folder = find_realdata()
    if folder is None:
        pytest.skip("no real market files here: set FAIRFIELD_REALDATA to their folder")
    return folder
