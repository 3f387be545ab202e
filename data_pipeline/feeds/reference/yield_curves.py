"""B3's curves of reference rates (PRE, DOC, DIC, ...) to the table yield_curves: the page, CSV or Parquet.

The page ("Taxas referenciais") gives calendar days and rates in % a year on the bases 252 (compounded over business
days) and 360 (simple over calendar days). A table has the columns curve_name, refdate, forward_date, cur_days, biz_days
and r_252, r_360 as fractions, as rb3 and brasa write them (B3, "Manual de Curvas").

Rules, each counted: a rate of 0 on the base 360 beside another rate on 252 is none (the page prints 0,00 where it has
no simple rate, on a curve's first day); of rows that repeat a vertex the last holds.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.feeds.reference.files import content_of, names_in
from data_pipeline.feeds.reference.tables import (
    distinct_rows,
    is_page_or_table,
    is_parquet,
    page_table,
    read_columns,
    refuse_null,
)
from data_pipeline.feeds.reference.text import comma_number, day_of
from data_pipeline.tables.catalog import YIELD_CURVES as SPEC

BATCH_ROWS: Final = 65_536
RULE_NO_360: Final = "rates_of_0_on_base_360_are_none"
RULE_REPEATED: Final = "repeated_vertices_left_out"
RULE_CONTRADICTED: Final = "repeated_vertices_with_other_rates"
MOST_DAYS: Final = 36_525
"""Days of a vertex; the longest curves reach 40 years."""
_COLUMNS: Final = ("curve_name", "refdate", "forward_date", "cur_days")
_PAGE_MARKS: Final = (b"tb_principal1", b"taxas-referenciais", b"slctaxa")
_BASE: Final = re.compile(r"(252|360)(?!\d)")
_DAYS: Final = re.compile(r"\d{1,3}(\.\d{3})?|\d{4,5}")
_CURVE: Final = re.compile(r"[A-Z0-9]{1,10}")


class YieldCurvesFeed:
    """Reference rates: HTML page, CSV, Parquet."""

    name = "b3_yield_curves"

    def recognises(self, head: RawHead) -> bool:
        """Whether the content says so."""
        return is_page_or_table(head, _PAGE_MARKS, _COLUMNS)

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file alone."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Vertices in the file's order; nothing here takes options.

        Raises
        ------
        DataError
            When the file is damaged, tells no curve or date, has percentages where fractions are due, or a vertex
            whose days do not lead to its date.
        """
        (path,) = files
        for name in names_in(path):
            shown = f"{path.name}:{name}" if name else path.name
            content = content_of(path, name)
            page = not is_parquet(content) and content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")
            rows = _page_rows(content, shown) if page else _table_rows(path, name, shown)
            tally.rows += rows.num_rows
            rows = distinct_rows(
                _without_zeros(rows, tally), ("session", "symbol", "days"), tally, RULE_REPEATED, RULE_CONTRADICTED
            )
            for start in range(0, rows.num_rows, BATCH_ROWS):
                yield Batch("yield_curves", "B3", rows.slice(start, BATCH_ROWS))


def _table_rows(path: Path, name: str, shown: str) -> pa.Table:
    found = read_columns(
        path,
        {
            "curve_name": "text",
            "refdate": "day",
            "forward_date": "day",
            "cur_days": "count",
            "biz_days": "count",
            "r_252": "number",
            "r_360": "number",
        },
        ("biz_days", "r_252", "r_360"),
        name,
    )
    refuse_null(found, _COLUMNS, shown)
    if "r_252" not in found and "r_360" not in found:
        raise DataError(f"{shown} has neither r_252 nor r_360: it is no table of reference rates")
    count = len(found["refdate"])
    days = found["cur_days"].to_numpy()
    _refuse(shown, (days < 0) | (days > MOST_DAYS), f"cur_days must be 0 to {MOST_DAYS}")
    names = found["curve_name"].to_pylist()
    _refuse(shown, np.array([not _CURVE.fullmatch(said) for said in names], bool), "curve_name must be capitals")
    start, end = (found[key].cast(pa.int32()).to_numpy() for key in ("refdate", "forward_date"))
    _refuse(shown, start + days != end, "forward_date must be refdate and cur_days later")
    business = found.get("biz_days", pa.nulls(count, pa.int64()))
    bank = business.to_numpy(zero_copy_only=False)
    _refuse(shown, (bank < 0) | (bank > days), "biz_days must be 0 to cur_days")
    for base in ("r_252", "r_360"):
        values = found.get(base)
        if values is not None and values.null_count < count and abs(np.nanmedian(_floats(values))) > 1.0:
            raise DataError(f"{shown}: {base} must be fractions (0.1165), not percentages: divide them by 100")
    none = pa.nulls(count, pa.float64())
    return pa.table(
        {
            "session": found["refdate"],
            "symbol": found["curve_name"],
            "maturity": found["forward_date"],
            "days": found["cur_days"],
            "business_days": business,
            "rate_252": found.get("r_252", none),
            "rate_360": found.get("r_360", none),
        }
    ).cast(SPEC.schema)


def _page_rows(content: bytes, shown: str) -> pa.Table:
    rows, inputs, text = page_table(content, "tb_principal1", shown)
    cells = [cell for row in rows for cell in row]
    if not cells:
        reason = "has no data for its day" if "dados para a data" in text else "has no table of reference rates"
        raise DataError(f"{shown} {reason}: no session that day, or the download failed; open it in a browser")
    curve, session = inputs.get("slcTaxa", ""), day_of(inputs.get("Data", ""), shown, "the page's Data")
    if not _CURVE.fullmatch(curve):
        raise DataError(f"{shown} does not say which curve it shows (slcTaxa): download the whole page")
    bases, values = _bases(cells)
    width = 1 + len(bases)
    if not bases or not values or len(values) % width:
        raise DataError(f"{shown}: the table of {curve} must have days and rates on the bases 252 or 360 in each row")
    columns: dict[str, list[float | None]] = {"252": [], "360": []}
    days: list[int] = []
    for number in range(0, len(values), width):
        where = f"{shown} vertex {number // width + 1}"
        said, *rates = values[number : number + width]
        if not _DAYS.fullmatch(said) or int(said.replace(".", "")) > MOST_DAYS:
            raise DataError(f"{where}: days must be a whole number up to {MOST_DAYS}; was {said[:40]!r}")
        days.append(int(said.replace(".", "")))
        given = dict(zip(bases, rates, strict=True))
        for base, column in columns.items():
            rate = given.get(base, "").strip("-")
            column.append(comma_number(given[base], where, f"rate {base}", scale=-2) if rate else None)
    return pa.table(
        {
            "session": pa.array([session] * len(days), pa.date32()),
            "symbol": pa.array([curve] * len(days), pa.string()),
            "maturity": pa.array([session + datetime.timedelta(days=count) for count in days], pa.date32()),
            "days": pa.array(days, pa.int32()),
            "business_days": pa.nulls(len(days), pa.int32()),
            "rate_252": pa.array(columns["252"], pa.float64()),
            "rate_360": pa.array(columns["360"], pa.float64()),
        },
        schema=SPEC.schema,
    )


def _bases(cells: Sequence[str]) -> tuple[list[str], list[str]]:
    """The bases that the header names, and the cells behind it: the page's rows are not always closed."""
    bases: list[str] = []
    for number, cell in enumerate(cells):
        base = _BASE.match(cell)
        if base is not None and base[1] not in bases:
            bases.append(base[1])
        elif bases:
            return bases, list(cells[number:])
    return bases, []


def _without_zeros(rows: pa.Table, tally: Tally) -> pa.Table:
    compounded = pc.fill_null(pc.not_equal(rows["rate_252"], 0.0), False)
    none = pc.and_(compounded, pc.fill_null(pc.equal(rows["rate_360"], 0.0), False))
    count = pc.sum(none).as_py() or 0
    if not count:
        return rows
    tally.add(RULE_NO_360, count)
    kept = pc.if_else(none, pa.scalar(None, pa.float64()), rows["rate_360"])
    return rows.set_column(rows.column_names.index("rate_360"), rows.schema.field("rate_360"), kept)


def _floats(values: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _refuse(shown: str, wrong: np.ndarray[tuple[int], np.dtype[np.bool_]], rule: str) -> None:
    if wrong.any():
        raise DataError(f"{shown} row {int(np.argmax(wrong)) + 1}: {rule}: fetch the file again")


YIELD_CURVES: Final = YieldCurvesFeed()
