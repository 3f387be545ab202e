import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.limits import (
    Action,
    Limit,
    LimitSet,
    PodStatus,
    apply_actions,
    default_limits,
    evaluate,
    hash_positions,
    initial_state,
)

LADDER = LimitSet((Limit("drawdown", "drawdown", 0.035, 0.05, 0.075, Action.HALVE, Action.FLATTEN),), rearm_sessions=3)
CALM = {"var_99": 0.01, "es_975": 0.01, "largest_issuer": 0.1, "hhi": 0.1, "gross": 0.5, "net": 0.5}


def walk(limits, values, measures=None, start=100.0, **options):
    """State and records after each net asset value of `values`."""
    state, steps = initial_state(limits, start), []
    for session, value in enumerate(values):
        given = {} if measures is None else measures[session]
        state, records = evaluate(limits, given, state, net_asset_value=value, session=session, **options)
        steps.append((state, records))
    return steps


def test_the_drawdown_ladder_notes_halves_and_flattens():
    steps = walk(LADDER, [99.0, 96.5, 95.0, 92.5])
    assert [state.status for state, _ in steps] == ["ACTIVE", "ACTIVE", "HALVED", "FLAT"]
    assert [[(r.level, r.action) for r in records] for _, records in steps] == [
        [],
        [("amber", Action.NOTE)],
        [("hard", Action.HALVE)],
        [("kill", Action.FLATTEN)],
    ]
    record = steps[2][1][0]
    assert (record.id, record.session, record.limit, record.threshold) == (2, 2, "drawdown", 0.05)
    assert record.value == pytest.approx(0.05)
    assert (record.kind, record.cleared_session) == ("passive", None)


def test_a_level_begins_at_its_threshold_exactly():
    limits = LimitSet((Limit("gross", "gross", 1.0, 2.0),))
    state, records = evaluate(limits, {"gross": 2.0}, initial_state(limits, 1.0), net_asset_value=1.0, session=0)
    assert state.status == PodStatus.REDUCING
    assert [r.level for r in records] == ["amber", "hard"]


def test_a_level_is_cleared_only_below_nine_tenths_of_it():
    steps = walk(LADDER, [95.0, 95.4, 95.51, 96.84, 96.86])
    assert [state.status for state, _ in steps] == ["HALVED", "HALVED", "ACTIVE", "ACTIVE", "ACTIVE"]
    cleared = [[(r.level, r.cleared_session) for r in records] for _, records in steps[1:]]
    assert cleared == [[], [("hard", 2)], [], [("amber", 4)]]
    assert steps[-1][0].open_breaches == ()


def test_the_starting_value_is_the_first_high_water_mark():
    state, _ = walk(LADDER, [94.0])[0]
    assert state.drawdown == pytest.approx(0.06)
    assert state.capital_fraction == 0.5


def test_a_flattened_pod_stays_flat_whatever_its_value_until_it_is_armed_again_from_its_new_mark():
    steps = walk(LADDER, [92.0, 99.9, 92.0, 92.0, 91.0, 87.0])
    assert [state.status for state, _ in steps] == ["FLAT", "FLAT", "FLAT", "ACTIVE", "ACTIVE", "HALVED"]
    assert steps[2][0].high_water_mark == 100.0
    armed, records = steps[3]
    assert (armed.high_water_mark, armed.drawdown, armed.flattened_by) == (92.0, 0.0, "")
    (note,) = [r for r in records if r.action is Action.REARM]
    assert (note.limit, note.value, note.threshold, note.cleared_session) == ("drawdown", 92.0, 100.0, 3)
    assert armed.open_breaches == ()
    assert steps[5][0].drawdown == pytest.approx(1 - 87 / 92)


def test_rearm_zero_is_never_and_a_pod_that_lost_everything_is_never_armed():
    never = replace(LADDER, rearm_sessions=0)
    assert all(state.status == PodStatus.FLAT for state, _ in walk(never, [90.0] * 50))
    ruined = walk(LADDER, [90.0, -5.0, -5.0, -5.0, -5.0, -5.0])
    assert all(state.status == PodStatus.FLAT for state, _ in ruined)
    assert ruined[-1][0].drawdown > 1


def test_a_day_loss_blocks_and_ends_when_the_day_is_over():
    limits = LimitSet((Limit("day_loss", "day_loss", 0.01, 0.02, 0.03),))
    steps = walk(limits, [98.0, 98.0, 99.0])
    assert [state.status for state, _ in steps] == ["REDUCING", "ACTIVE", "ACTIVE"]
    assert steps[0][0].day_loss == pytest.approx(0.02)
    assert steps[2][0].day_loss == 0.0


def test_a_halved_pod_can_be_reducing_too():
    limits = LimitSet((*LADDER.limits, Limit("gross", "gross", hard=1.0)))
    state, _ = walk(limits, [94.0], [{"gross": 1.2}])[0]
    assert (state.status, state.reducing, state.capital_fraction) == (PodStatus.HALVED, True, 0.5)
    np.testing.assert_allclose(apply_actions(state, [100.0, 100.0], [120.0, 500.0]), [60.0, 100.0])


def test_a_kill_level_keeps_the_action_of_its_hard_level():
    limits = LimitSet((Limit("var", "var", 0.8, 1.0, 1.2, Action.BLOCK, Action.HALVE),))
    state, records = walk(limits, [100.0], [{"var": 1.3}])[0]
    assert (state.reducing, state.capital_fraction) == (True, 0.5)
    assert [r.level for r in records] == ["amber", "hard", "kill"]


def test_a_level_that_never_holds_is_not_recorded():
    limits = LimitSet((Limit("hhi", "hhi", hard=0.25),))
    state, records = walk(limits, [100.0], [{"hhi": 9.0}])[0]
    assert [r.level for r in records] == ["hard"]
    assert state.levels == (2,)
    _, records = evaluate(limits, {"hhi": 0.1}, state, net_asset_value=100.0, session=1)
    assert [(r.level, r.cleared_session) for r in records] == [("hard", 1)]


def test_a_measure_that_is_not_known_keeps_its_level():
    limits = LimitSet((Limit("var", "var", hard=1.0),))
    steps = walk(limits, [100.0] * 4, [{"var": math.nan}, {"var": 1.1}, {"var": math.nan}, {"var": 0.5}])
    assert [state.status for state, _ in steps] == ["ACTIVE", "REDUCING", "REDUCING", "ACTIVE"]


def test_a_breach_is_active_only_when_the_pods_own_fills_made_it():
    limits = LimitSet((Limit("gross", "gross", hard=1.0),))
    for passive, kind in ((0.9, "active"), (1.05, "passive"), (math.nan, "passive")):
        step = walk(limits, [100.0], [{"gross": 1.1}], passive_measures={"gross": passive})
        assert step[0][1][0].kind == kind


def test_records_carry_the_hash_of_the_positions():
    _, records = walk(LADDER, [94.0], positions=np.array([100.0, -0.0]))[0]
    assert {r.positions_hash for r in records} == {hash_positions([100, 0])}
    assert hash_positions([100.0, 1.0]) != hash_positions([1.0, 100.0])
    assert len(hash_positions([])) == 16


values = st.lists(st.floats(60.0, 140.0), min_size=1, max_size=60)


@given(values, st.integers(0, 5))
def test_records_have_a_beginning_and_at_most_one_end_and_the_open_ones_are_the_levels_that_hold(path, rearm):
    limits = replace(default_limits(), rearm_sessions=rearm)
    steps = walk(limits, path, [CALM] * len(path))
    final = {}
    for session, (_, records) in enumerate(steps):
        for record in records:
            if record.id in final:
                assert final[record.id].cleared_session is None
                assert record == replace(final[record.id], cleared_session=session)
            else:
                assert record.session == session
            final[record.id] = record
    last = steps[-1][0]
    assert sorted(final) == list(range(1, last.breach_count + 1))
    still = {(r.limit, r.level) for r in final.values() if r.cleared_session is None}
    assert still == {(r.limit, r.level) for r in last.open_breaches}
    holding = {
        (limit.name, name)
        for limit, level in zip(limits.limits, last.levels, strict=True)
        for name in ("amber", "hard", "kill")[:level]
    }
    assert still == holding


@given(values)
def test_the_state_is_a_function_of_the_past(path):
    limits = default_limits(rearm_sessions=4)
    whole = walk(limits, path, [CALM] * len(path))
    half = walk(limits, path[: len(path) // 2], [CALM] * len(path))
    assert whole[: len(half)] == half


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20), st.booleans())
def test_reducing_only_shrinks_positions_and_never_crosses_zero(pairs, halved):
    current, wanted = np.array(pairs).T
    state = replace(initial_state(LADDER, 1.0), reducing=True, capital_fraction=0.5 if halved else 1.0)
    allowed = apply_actions(state, current, wanted)
    assert (np.abs(allowed) <= np.abs(current)).all()
    assert (np.sign(allowed) * np.sign(current) >= 0).all()
    inside = (np.sign(wanted) * np.sign(current) >= 0) & (np.abs(wanted * state.capital_fraction) <= np.abs(current))
    np.testing.assert_array_equal(allowed[inside], (wanted * state.capital_fraction)[inside])


def test_an_active_pod_gets_what_it_wants_and_a_flat_one_nothing():
    state = initial_state(LADDER, 100.0)
    np.testing.assert_array_equal(apply_actions(state, [1.0, -2.0], [-5.0, 7.0]), [-5.0, 7.0])
    flat = walk(LADDER, [90.0])[0][0]
    np.testing.assert_array_equal(apply_actions(flat, [1.0, -2.0], [-5.0, 7.0]), [0.0, 0.0])


def test_shipped_levels():
    limits = {limit.name: limit for limit in default_limits().limits}
    assert limits["drawdown"].thresholds == (0.035, 0.05, 0.075)
    assert limits["day_loss"].thresholds == (0.01, 0.02, 0.03)
    assert (limits["drawdown"].action_hard, limits["drawdown"].action_kill) == (Action.HALVE, Action.FLATTEN)
    for name in ("var_99", "es_975", "gross", "net"):
        assert limits[name].amber / limits[name].hard == pytest.approx(0.8)
        assert limits[name].kill / limits[name].hard == pytest.approx(1.2)


def test_levels_can_be_replaced_by_name():
    limits = default_limits().with_levels("hhi", None, 0.5, None)
    (hhi,) = [limit for limit in limits.limits if limit.name == "hhi"]
    assert hhi.thresholds == (math.inf, 0.5, math.inf)
    with pytest.raises(ValueError, match=r"name must be one of the limits drawdown, day_loss, .*; was 'hhl'"):
        limits.with_levels("hhl", None, None, None)


def test_one_close_takes_tens_of_microseconds():
    limits, state = default_limits(), initial_state(default_limits(), 100.0)
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        for session in range(500):
            state, _ = evaluate(limits, CALM, state, net_asset_value=100.0, session=session)
        best = min(best, (time.process_time() - start) / 500)
    # About 10 microseconds; the bound is what fifteen hundred sessions of ten pods can afford.
    assert best < 100e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Limit("x", "x", 0.1, 0.05), "amber, hard and kill of limit 'x' must increase"),
        (lambda: Limit("x", "x", hard=0.0), "hard of limit 'x' must be positive"),
        (lambda: Limit("x", "x", hard=math.nan), "hard of limit 'x' must be positive"),
        (lambda: Limit("x", "x", hard=1.0, action_hard=Action.REARM), "must be NOTE, BLOCK, HALVE or FLATTEN"),
        (lambda: LimitSet((Limit("x", "x"), Limit("x", "y"))), "'x' is used twice"),
        (lambda: LimitSet((), clear_fraction=0.0), "clear_fraction must be in"),
        (lambda: LimitSet((), rearm_sessions=-1), "rearm_sessions must not be negative"),
        (lambda: initial_state(LADDER, 0.0), "net_asset_value must be finite and positive"),
    ],
)
def test_limits_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_measures_that_are_missing_or_values_that_are_not_finite_are_refused():
    limits = LimitSet((Limit("gross", "gross", hard=1.0),))
    state = initial_state(limits, 1.0)
    with pytest.raises(ValueError, match="measures must hold 'gross'"):
        evaluate(limits, {"net": 1.0}, state, net_asset_value=1.0, session=0)
    with pytest.raises(ValueError, match="net_asset_value must be finite; was nan in session 3"):
        evaluate(limits, {"gross": 1.0}, state, net_asset_value=math.nan, session=3)
    with pytest.raises(ValueError, match="one shape"):
        apply_actions(state, [1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite in every entry"):
        apply_actions(state, [1.0], [math.nan])
