import numpy as np
import pytest

from backtests.walk.policy_files import PolicyArtefact
from data_pipeline.errors import DataError
from mfg_core import ExecutionGame, policy_arrays, solve_mfg
from reports.policy_view import game_paths, policy_page


@pytest.fixture(scope="module")
def solved() -> PolicyArtefact:
    """The execution game whose mean rate and mean inventory are published: eta0 1, eta1 0.5, phi 0.1, gamma 1, T 1."""
    game = ExecutionGame(
        temporary_impact=1.0, crowd_impact=0.5, running_penalty=0.1, terminal_penalty=1.0, initial_mean=1.0,
        initial_std=0.4, horizon=1.0,
    )  # fmt: skip
    equilibrium = solve_mfg(game, rtol=1e-9)
    sent = equilibrium.policy.fractions(1)
    arrays = dict(policy_arrays(equilibrium)) | {"session_fractions": sent, "session_crowd_rate": -sent}
    return PolicyArtefact(arrays, {"horizon": 1.0}, {"converged": True}, {}, {}, {})


def test_the_drawn_paths_are_the_reference_solution(solved):
    paths = game_paths(solved)
    assert paths["gain"][0] == pytest.approx(0.66941611, abs=5e-9)
    assert paths["remaining"][-1] == pytest.approx(0.37851080, abs=5e-9)
    assert paths["friction"][0] == pytest.approx(1.0 + 0.5 * 0.66941611, abs=5e-9)
    assert np.allclose(paths["crowd_inventory"], paths["remaining"], rtol=1e-9)


def test_a_solved_policy_has_its_page(solved):
    page = policy_page(solved, "ab" * 32, ["hold"], 3, everybody=False)
    assert page.title == "Policy ababababab of fold 3, calibrated for hold"
    assert [row[1] for row in page.tables[0].rows] == ["62.1%", "37.9%"]
    assert len(page.pictures) == 4


def test_a_policy_of_another_game_is_refused(solved):
    arrays = {name: values for name, values in solved.arrays.items() if name != "riccati"}
    other = PolicyArtefact(arrays, {}, {}, {}, {}, {})
    with pytest.raises(DataError, match="riccati"):
        game_paths(other)
