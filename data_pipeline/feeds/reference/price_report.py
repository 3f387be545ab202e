"""B3's daily price report (BVBG.086, and BVBG.187, its simplified form) to the tables price_reports and settlements.

The report is XML, one `PricRpt` per instrument (B3, "Catálogo de mensagens e arquivos": bvmf.217). It is read as a
stream: no tree is built, and what is kept are the columns of the table. `pesquisapregao/download` gives a zip of zips
with every version of the day; the newest holds.

Rules, each counted: a row of another session than the report's (trades of the evening, already dated to the next
session, that a day's report repeats) is left out: the next day's report has it whole; so is a repeated instrument, of
which the last message holds; so are B3's test instruments (TF and three digits). A session after the day on which the
report was made is never the report's, even where all rows are of it: a day without a report of its own is refused.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.feeds.reference.contracts import settlements_of_reports
from data_pipeline.feeds.reference.files import names_in, opened
from data_pipeline.feeds.reference.price_report_xml import ReportHead, read_report, report_head
from data_pipeline.feeds.reference.text import day_of
from data_pipeline.raw_file import RawFile

BATCH_ROWS: Final = 16_384
RULE_OTHER_SESSION: Final = "rows_of_another_session_left_out"
RULE_REPEATED: Final = "repeated_instruments_left_out"
RULE_CONTRADICTED: Final = "repeated_instruments_with_other_figures"
RULE_TEST: Final = "test_instruments_left_out"
RULE_OLD_VERSIONS: Final = "older_versions_of_the_report_left_out"
_TEST_INSTRUMENT: Final = r"^TF\d{3}"
_HEAD_BYTES: Final = 4_096


class PriceReportFeed:
    """BVBG.086 price reports, plain, in a gzip, a zip or a zip of zips."""

    name = "b3_price_report"

    def recognises(self, head: RawHead) -> bool:
        """Whether the content says so."""
        return report_head(head.start) is not None

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file alone."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Rows of price_reports, then the futures among them as rows of settlements; nothing here takes options.

        Raises
        ------
        DataError
            When the XML is damaged or cut, has a document type declaration, fewer messages than its header says, or a
            value that cannot be.
        """
        (path,) = files
        head, name = _newest(path, tally)
        try:
            with opened(path, name) as raw:
                rows = _rows_of(raw, head, tally)
        except DataError as error:
            if not tally.counts.get(RULE_OLD_VERSIONS):
                raise
            raise DataError(
                f"{error}; it is the newest of {tally.counts[RULE_OLD_VERSIONS] + 1} versions: to use an older one, "
                "take it out of the zip"
            ) from error
        for start in range(0, rows.num_rows, BATCH_ROWS):
            yield Batch("price_reports", "B3", rows.slice(start, BATCH_ROWS))
        futures = settlements_of_reports(rows)
        if futures.num_rows:
            yield Batch("settlements", "B3", futures)


def _newest(path: Path, tally: Tally) -> tuple[ReportHead, str]:
    """Head, and name inside the file, of the report that was made last."""
    heads: list[tuple[ReportHead, str]] = []
    for name in names_in(path):
        with opened(path, name) as raw:
            found = report_head(raw.stream.read(_HEAD_BYTES))
        if found is not None:
            heads.append((found, name))
    if not heads:
        raise DataError(f"{path.name} holds no price report (BVBG.086): the day has none or the download failed")
    if len({head.kind for head, _ in heads}) > 1:
        raise DataError(f"{path.name} holds price reports of several kinds: give each in a file of its own")
    if len(heads) > 1:
        tally.add(RULE_OLD_VERSIONS, len(heads) - 1)
    return max(heads, key=lambda item: (item[0].created, item[1]))


def _rows_of(raw: RawFile, head: ReportHead, tally: Tally) -> pa.Table:
    rows = read_report(raw)
    tally.rows += rows.num_rows
    session = _session_of(rows, head, raw.name)
    rows = _kept(rows, pc.equal(rows["session"], pa.scalar(session, pa.date32())), tally, RULE_OTHER_SESSION)
    tests = pc.match_substring_regex(rows["symbol"], _TEST_INSTRUMENT)
    rows = _kept(rows, pc.invert(tests), tally, RULE_TEST)
    return _distinct(rows, tally)


def _session_of(rows: pa.Table, head: ReportHead, name: str) -> datetime.date:
    """The date that most rows bear, of those up to the day on which the report was made."""
    made = day_of(head.created[:10], name, "CreDtAndTm")
    counted: Counter[datetime.date] = Counter(rows["session"].to_pylist())
    if not counted:
        raise DataError(f"{name} has no instruments: the day has no report; fetch it again")
    own = {day: count for day, count in counted.items() if day <= made}
    if not own:
        raise DataError(
            f"{name} was made on {made} and has only trades of later sessions ({min(counted)}): its day has no report; "
            "the later ones are in the reports of theirs"
        )
    return max(own, key=lambda day: (own[day], day))


def _kept(rows: pa.Table, chosen: pa.ChunkedArray, tally: Tally, rule: str) -> pa.Table:
    kept = rows.filter(chosen)
    if kept.num_rows < rows.num_rows:
        tally.add(rule, rows.num_rows - kept.num_rows)
    return kept


def _distinct(rows: pa.Table, tally: Tally) -> pa.Table:
    """The last message of each instrument and forward term."""
    keys = list(zip(rows["symbol"].to_pylist(), rows["forward_days"].to_pylist(), strict=True))
    made = rows["known_at"].to_numpy()
    last: dict[tuple[str, int | None], int] = {}
    for row, key in enumerate(keys):
        before = last.get(key)
        if before is None or made[row] >= made[before]:
            last[key] = row
    if len(last) == len(keys):
        return rows
    holds = np.array([last[key] for key in keys], np.int64)
    left_out = np.flatnonzero(holds != np.arange(len(keys)))
    tally.add(RULE_REPEATED, left_out.size)
    figures = rows.drop_columns(["known_at"])
    given, kept = (figures.take(pa.array(places)).to_pylist() for places in (left_out, holds[left_out]))
    other = sum(one != another for one, another in zip(given, kept, strict=True))
    if other:
        tally.add(RULE_CONTRADICTED, other)
    return rows.take(pa.array(np.unique(holds)))


PRICE_REPORT: Final = PriceReportFeed()
