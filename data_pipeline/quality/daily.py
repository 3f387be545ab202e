"""What a reader must know of the data before believing a result: coverage, gaps, repairs, events, oddities, a light.

`store_quality` looks at a store and the panel made of it, `panel_quality` at a panel alone. Both return plain JSON
types with these keys (lists hold records with the same keys, sorted, at most `MOST` of them, the worst first where
there is a worst; `totals` says how many there are):

    light               "green", "amber" or "red"
    reasons             list of str: why it is not green, the red ones first
    totals              counts of everything below
    coverage            per instrument: instrument, first, last, sessions, presence, median_value
    months              per month: month, sessions, instruments, rows, traded_value
    gaps                session, last, sessions, kind ("missing": B3 held them; "unexpected": B3 did not): missing
                        sessions that follow each other are one gap, `session` is its first
    quarantine          session, ticker, reason, source, line (store only)
    events              session, instrument, kind, share_factor, cash, confidence, known, source: those with a size
    unsized             the same: something happened, its size is unknown; jump is the log return left in the prices
    renames             session, old, new, share_factor, confidence, joined, source (store only)
    trade_counts        instrument, unwrapped: how many counts each (store only)
    stale               instrument, kind, sessions, first, last (see `stale_quotes`)
    outliers            session, instrument, return, robust_z, value_ratio: returns that no event explains
    suspicious          session, instrument, problem: rows that cannot be quite right
    missing_cdi         sessions whose CDI was carried from the day before (store only)
    poor_sessions       session, score, problems: those with a score below 0.98 (see `session_scores`), worst first, all
                        of them: the backtester refuses or flags those below the minimum of its configuration
    rule_counts         every named repair and its count
    provenance          where the panel came from

The light: red when the data would falsify a backtest, amber when a reader should look.

    red     1 % or more of B3's sessions missing; more than 1 % of the rows quarantined; an unsized split state with
            |jump| above 0.4 in a liquid instrument (`LIQUID_VALUE`); a session B3 did not hold; a session with a score
            below 0.5
    amber   any missing session, quarantined row, unsized event with |jump| above 0.1 in a liquid instrument, event
            sized below confidence 0.8, rename that is likely but not joined, carried CDI, suspicious row, session
            with a score below 0.9, or more than 1 in 1000 outliers
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.panel import CorporateEvent, DailyPanel
from data_pipeline.daily.renames import renames_to_chain
from data_pipeline.daily.risk_free import risk_free_returns
from data_pipeline.daily.spot_history import read_spot_history
from data_pipeline.quality.daily_checks import Record, median_or_zero, outliers, stale_quotes, suspicious_rows
from data_pipeline.quality.session_scores import score_records, session_scores
from data_pipeline.sessions.calendar import calendar_gaps
from data_pipeline.store import Store

MOST: Final = 500
"""Records kept of each list."""

LIQUID_VALUE: Final = 1e6
"""Median traded value, R$ per session, from which an instrument is called liquid."""

MAX_MISSING: Final = 0.01
MAX_QUARANTINED: Final = 0.01
RED_JUMP: Final = 0.4
AMBER_JUMP: Final = 0.1
SURE: Final = 0.8
MAX_OUTLIERS: Final = 1e-3
AMBER_SCORE: Final = 0.9
RED_SCORE: Final = 0.5
"""What a backtest asks of a session by default."""


def panel_quality(panel: DailyPanel) -> dict[str, Any]:
    """Return the quality summary of a panel, see the module for its keys."""
    return _summary(panel, _panel_parts(panel))


def _panel_parts(panel: DailyPanel) -> dict[str, list[Record]]:
    sized = [event for event in panel.events if event.share_factor != 1.0 or event.cash > 0.0]
    unsized = [event for event in panel.events if event.share_factor == 1.0 and event.cash == 0.0]
    return {
        "coverage": _coverage(panel),
        "months": _months(panel),
        "gaps": _gaps(panel.sessions[_held(panel)]),
        "quarantine": [],
        "events": [_event_record(panel, event) for event in sized],
        "unsized": _unsized(panel, unsized),
        "renames": [],
        "trade_counts": [],
        "stale": stale_quotes(panel),
        "outliers": outliers(panel),
        "suspicious": suspicious_rows(panel),
        "missing_cdi": [],
    }


def _gaps(held: NDArray[np.datetime64]) -> list[Record]:
    """What the sessions lack and have too many, against the calendar; missing ones that follow each other as one."""
    missing, unexpected = calendar_gaps(held)
    ends = np.flatnonzero(np.diff(np.searchsorted(held, missing))) + 1
    runs = [("missing", run) for run in np.split(missing, ends) if run.size]
    runs += [("unexpected", unexpected[k : k + 1]) for k in range(unexpected.size)]
    return sorted(
        ({"session": str(run[0]), "last": str(run[-1]), "sessions": int(run.size), "kind": kind} for kind, run in runs),
        key=lambda gap: gap["session"],
    )


def store_quality(store: Store, panel: DailyPanel, *, risk_free_annual: float | None = None) -> dict[str, Any]:
    """Return the quality summary of a store and the panel that `build_panel` made of it.

    Parameters
    ----------
    store : Store
    panel : DailyPanel
        Of this store; its first and last session are the span looked at.
    risk_free_annual : float, optional
        As given to `build_panel`.
    """
    first, last = panel.sessions[0], panel.sessions[-1]
    history = read_spot_history(store, first, last)
    parts = _panel_parts(panel)
    quarantine = store.quarantine().select(["session", "ticker", "reason", "source", "line"]).to_pylist()
    parts["quarantine"] = [
        record | {"session": str(record["session"])}
        for record in quarantine
        if first <= np.datetime64(record["session"], "D") <= last
    ]
    joined = {(rename.old, rename.new) for rename in renames_to_chain(history.renames)}
    parts["renames"] = [
        {
            "session": str(rename.session),
            "old": rename.old,
            "new": rename.new,
            "share_factor": rename.share_factor,
            "confidence": rename.confidence,
            "joined": (rename.old, rename.new) in joined,
            "source": rename.source,
        }
        for rename in history.renames
        if rename.session >= first
    ]
    names = np.array(history.rows.instruments, dtype=object)[history.rows.instrument_of_row()]
    inside = history.unwrapped & (history.rows.session >= first)
    parts["trade_counts"] = [
        {"instrument": name, "unwrapped": count}
        for name, count in sorted(Counter(names[inside]).items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    cash = risk_free_returns(panel.sessions, store.cdi(), risk_free_annual)
    parts["missing_cdi"] = [{"session": str(day)} for day in cash.carried]
    return _summary(panel, parts)


def _summary(panel: DailyPanel, parts: dict[str, list[Record]]) -> dict[str, Any]:
    defects = {
        "quarantined": parts["quarantine"],
        "suspicious": parts["suspicious"],
        "unexplained outliers": parts["outliers"],
    }
    scores, words = session_scores(panel.sessions, ~np.isnan(panel.close), defects)
    poor = score_records(panel.sessions, scores, words)
    counts = {name: len(content) for name, content in parts.items()}
    counts["rows"] = int(np.sum(~np.isnan(panel.close)))
    counts["sessions"] = int(panel.sessions.size)
    counts["poor_sessions"] = len(poor)
    red, amber = _reasons(parts, counts)
    for light, low, high in ((red, 0.0, RED_SCORE), (amber, RED_SCORE, AMBER_SCORE)):
        between = [record["session"] for record in poor if low <= record["score"] < high]
        if between:
            light.append(f"{len(between)} session(s) have a score below {high:g}, the worst {between[0]}")
    return {
        "light": "red" if red else "amber" if amber else "green",
        "reasons": red + amber,
        "totals": dict(sorted(counts.items())),
        **{name: content[:MOST] for name, content in parts.items()},
        "poor_sessions": poor,
        "rule_counts": {name: int(count) for name, count in panel.rule_counts.items()},
        "provenance": dict(panel.provenance),
    }


def _reasons(parts: dict[str, list[Record]], counts: dict[str, int]) -> tuple[list[str], list[str]]:
    red: list[str] = []
    amber: list[str] = []
    missing, unexpected = (
        sum(gap["sessions"] for gap in parts["gaps"] if gap["kind"] == kind) for kind in ("missing", "unexpected")
    )
    if missing:
        share = missing / (counts["sessions"] + missing)
        (red if share >= MAX_MISSING else amber).append(f"{missing} sessions that B3 held are missing")
    if unexpected:
        red.append(f"{unexpected} sessions lie on days that B3 was closed")
    if counts["quarantine"]:
        share = counts["quarantine"] / (counts["rows"] + counts["quarantine"])
        (red if share > MAX_QUARANTINED else amber).append(f"{counts['quarantine']} rows are quarantined")
    jumps = [event for event in parts["unsized"] if event["liquid"] and event["jump"] is not None]
    large = [event for event in jumps if abs(event["jump"]) > RED_JUMP]
    if large:
        red.append(f"events of unknown size left large jumps in {_names(large)}")
    middle = [event for event in jumps if AMBER_JUMP < abs(event["jump"]) <= RED_JUMP]
    if middle:
        amber.append(f"events of unknown size left jumps above {AMBER_JUMP:.0%} in {_names(middle)}")
    unsure = [event for event in parts["events"] if event["confidence"] < SURE]
    if unsure:
        amber.append(f"{len(unsure)} events are sized below confidence {SURE:g}: {_names(unsure)}")
    likely = [rename for rename in parts["renames"] if rename["confidence"] >= 0.5 and not rename["joined"]]
    if likely:
        amber.append(f"{len(likely)} likely rename(s) not joined")
    if counts["missing_cdi"]:
        amber.append(f"{counts['missing_cdi']} sessions have no CDI of their own")
    if counts["suspicious"]:
        amber.append(f"{counts['suspicious']} rows are suspicious")
    if counts["outliers"] > MAX_OUTLIERS * max(1, counts["rows"]):
        amber.append(f"{counts['outliers']} returns are outliers that no event explains")
    return red, amber


def _names(records: Sequence[Record], most: int = 5) -> str:
    names = list(dict.fromkeys(record["instrument"] for record in records))
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def _held(panel: DailyPanel) -> NDArray[np.bool_]:
    """Return the rows in which anything traded: a session without any is a hole, not a session."""
    return np.asarray((~np.isnan(panel.close)).any(axis=1))


def _coverage(panel: DailyPanel) -> list[Record]:
    traded = ~np.isnan(panel.close)
    held = int(_held(panel).sum())
    records = []
    for column, name in enumerate(panel.instruments):
        rows = np.flatnonzero(traded[:, column])
        records.append(
            {
                "instrument": name,
                "first": str(panel.sessions[rows[0]]) if rows.size else None,
                "last": str(panel.sessions[rows[-1]]) if rows.size else None,
                "sessions": int(rows.size),
                "presence": round(rows.size / max(1, held), 6),
                "median_value": round(median_or_zero(panel.traded_value[rows, column]), 2),
            }
        )
    return sorted(records, key=lambda record: (record["presence"], record["instrument"]))


def _months(panel: DailyPanel) -> list[Record]:
    month = panel.sessions.astype("datetime64[M]")
    traded = ~np.isnan(panel.close)
    held = _held(panel)
    return [
        {
            "month": str(name),
            "sessions": int(held[month == name].sum()),
            "instruments": int(traded[month == name].any(axis=0).sum()),
            "rows": int(traded[month == name].sum()),
            "traded_value": round(float(panel.traded_value[month == name].sum()), 2),
        }
        for name in np.unique(month)
    ]


def _event_record(panel: DailyPanel, event: CorporateEvent) -> Record:
    known = panel.sessions[event.known_session] if event.known_session < panel.sessions.size else None
    return {
        "session": str(panel.sessions[event.ex_session]),
        "instrument": panel.instruments[event.instrument],
        "kind": event.kind,
        "share_factor": event.share_factor,
        "cash": event.cash,
        "confidence": event.confidence,
        "known": None if known is None else str(known),
        "source": event.source,
    }


def _unsized(panel: DailyPanel, events: Sequence[CorporateEvent]) -> list[Record]:
    records = []
    for event in events:
        past = panel.close[: event.ex_session, event.instrument]
        past = past[~np.isnan(past)]
        now = panel.close[event.ex_session, event.instrument]
        known = past.size > 0 and not np.isnan(now)
        usual = median_or_zero(panel.traded_value[~np.isnan(panel.close[:, event.instrument]), event.instrument])
        records.append(
            _event_record(panel, event)
            | {"jump": round(float(np.log(now / past[-1])), 6) if known else None, "liquid": usual >= LIQUID_VALUE}
        )
    return sorted(records, key=lambda r: (-abs(r["jump"] or 0.0), r["session"], r["instrument"]))
