"""A pod's account of a finished run as a file that vectorbt loads."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from backtests.walk.result_files import read_run


def test_the_file_is_a_portfolio_with_the_equity_of_the_run(world, tmp_path: Path) -> None:
    import vectorbt

    output = tmp_path / "reversal.pickle"
    said = world.fairfield("export-vectorbt", world.run, "reversal", "-o", output)
    assert said.exit_code == 0, said.output
    assert f"vectorbt.Portfolio.load({str(output)!r})" in said.stdout
    portfolio = vectorbt.Portfolio.load(str(output))
    equity = read_run(world.run).result("reversal").equity
    np.testing.assert_allclose(np.asarray(portfolio.value()).ravel(), equity.to_numpy(), rtol=1e-9)
    assert portfolio.wrapper.index[0] == equity.index[0]


def test_data_that_are_no_longer_beside_the_run_come_from_its_configuration(world, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(world.run, moved)
    output = tmp_path / "hold.pickle"
    world.refused(world.fairfield("export-vectorbt", moved, "hold", "-o", output), "no longer beside it", "--config")
    said = world.fairfield("export-vectorbt", moved, "hold", "-o", output, "--config", world.config)
    assert said.exit_code == 0, said.output
    assert output.is_file()


def test_another_configuration_s_data_are_refused(world, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    text = world.config.read_text().replace('store = "store"', f'store = "{world.store}"\nstart = 2023-03-01')
    other.write_text(text, encoding="utf-8")
    moved = tmp_path / "moved"
    shutil.copytree(world.run, moved)
    said = world.fairfield("export-vectorbt", moved, "hold", "-o", tmp_path / "x", "--config", other)
    world.refused(said, "its data are not those of the run")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("pod", "words"), [("holds", "pod must be one of hold, reversal; was 'holds'")])
def test_an_unknown_pod_is_named(world, tmp_path: Path, pod: str, words: str) -> None:
    said = world.fairfield("export-vectorbt", world.run, pod, "-o", tmp_path / "x")
    world.refused(said, words)
