"""`fairfield bars`: bars of the store's trades and quotes, made where they are missing or stale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fairfield.errors import ConfigError
from fairfield.stages import task_bar, tell

if TYPE_CHECKING:
    from data_pipeline.tasks.executor import Engine


def run_bars(
    store: str,
    rules: Sequence[str],
    *,
    venue: str | None = None,
    start: str | None = None,
    end: str | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    engine: Engine | None = None,
    scheduler: str | None = None,
    check: bool = False,
) -> bool:
    """Make bars, or with `check` only say which are missing or stale; whether none is then.

    Raises
    ------
    ConfigError
        For a rule of another form, no rule where there are no bars, a date that is none, or contradictory options.
    DataError
        When the store cannot be read or written.
    """
    from data_pipeline.book.bar_tasks import bars_states, compute_bars
    from data_pipeline.store import Store
    from data_pipeline.tables.reading import iso_day
    from data_pipeline.tasks.executor import make_workforce

    try:
        first, last = iso_day(start, "--start"), iso_day(end, "--end")
        if not check:
            executor = make_workforce(workers, cluster, engine=engine, scheduler=scheduler)
            with task_bar("bars") as progress:
                report = compute_bars(
                    store, rules, venue=venue, start=first, end=last, executor=executor, progress=progress
                )
            if not (rules or report.made or report.fresh):
                raise ConfigError("no session there has bars yet: say how to cut them, as in --rule time:60s")
            tell(f"{_sessions(len(report.made))} made, {report.rows:,} bars; {_sessions(len(report.fresh))} unchanged")
    except ValueError as error:
        raise ConfigError(str(error)) from error
    states = bars_states(Store.open(store), venue=venue, start=first, end=last)
    old = [s for s in states if s.state != "fresh"]
    for s in old if check else ():
        tell(f"{s.state}: {s.venue} {s.session}{' (' + ', '.join(s.rules) + ')' if s.rules else ''}")
    if check and not old:
        tell(f"{_sessions(len(states))}, all bars fresh")
    return not old


def _sessions(count: int) -> str:
    return "1 session" if count == 1 else f"{count:,} sessions"
