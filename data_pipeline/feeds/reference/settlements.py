"""Settlement prices of B3's futures to the table settlements: the exchange's page, or a table of it as CSV or Parquet.

The page ("Ajustes do pregão", in use until December 2025; the price report has the same figures) names the commodity
once for its contracts, prints Brazilian numbers and no sign on the value per contract. A table has the columns refdate,
symbol, commodity, maturity_code, previous_price, price, price_change and settlement_value, as rb3 and brasa write them.

Rules, each counted: a previous settlement of 0 is none, and its change with it (a contract's first day; a change worked
out from that 0 would be its whole price); of rows that repeat a contract and session the last holds. What is only
counted: a change that is not the difference of the two settlements, a value that is not the change times the contract's
multiplier, WIN and WDO that settle away from IND and DOL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.feeds.reference.contracts import ROOTS, SAME_SETTLEMENT, settlement_table
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

BATCH_ROWS: Final = 65_536
RULE_NO_PREVIOUS: Final = "previous_settlements_of_0_are_none"
RULE_REPEATED: Final = "repeated_contracts_left_out"
RULE_CONTRADICTED: Final = "repeated_contracts_with_other_figures"
RULE_CHANGE: Final = "changes_unlike_the_settlements"
RULE_VALUE: Final = "values_unlike_change_times_multiplier"
RULE_UNLIKE: Final = "{0}_settled_unlike_{1}"
_COLUMNS: Final = ("refdate", "symbol", "commodity", "maturity_code", "previous_price", "price")
_NUMBERS: Final = {
    "price": "settlement",
    "previous_price": "previous",
    "price_change": "change",
    "settlement_value": "value",
}
_PAGE_MARKS: Final = (b"tbldadosajustes", b"ajustes-do-pregao", b"ddata1")
_CELLS: Final = 6
_MATURITY: Final = re.compile(r"[FGHJKMNQUVXZ]\d{1,2}|([FGHJKMNQUVXZ]\d){2}")
_UPDATED: Final = re.compile(r"atualizado em:? *(\d{2}/\d{2}/\d{4})", re.IGNORECASE)
_DECIMALS: Final = 1e-6
_CENT: Final = 0.0051
"""Half a cent and the rounding of a product: values are printed in whole cents."""


class SettlementsFeed:
    """Settlement prices: HTML page, CSV, Parquet."""

    name = "b3_settlements"

    def recognises(self, head: RawHead) -> bool:
        """Whether the content says so."""
        return is_page_or_table(head, _PAGE_MARKS, _COLUMNS)

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file alone."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Rows of settlements in the file's order; nothing here takes options.

        Raises
        ------
        DataError
            When the file is damaged, has no date or no settlements, or a value that is none.
        """
        (path,) = files
        for name in names_in(path):
            shown = f"{path.name}:{name}" if name else path.name
            columns = _columns(path, name, shown)
            tally.rows += len(columns["session"])
            rows = _table(columns, tally, shown)
            rows = distinct_rows(rows, ("session", "symbol"), tally, RULE_REPEATED, RULE_CONTRADICTED)
            _count_oddities(rows, tally)
            for start in range(0, rows.num_rows, BATCH_ROWS):
                yield Batch("settlements", "B3", rows.slice(start, BATCH_ROWS))


def _columns(path: Path, name: str, shown: str) -> dict[str, pa.Array]:
    content = content_of(path, name)
    if not is_parquet(content) and content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        return _page_columns(content, shown)
    wanted = dict.fromkeys(_NUMBERS, "number") | dict.fromkeys(("symbol", "commodity", "maturity_code"), "text")
    found = read_columns(path, {"refdate": "day", **wanted}, ("price_change", "settlement_value"), name)  # type: ignore[dict-item]
    refuse_null(found, ("refdate", "symbol", "commodity", "maturity_code", "price"), shown)
    said = pc.binary_join_element_wise(found["commodity"], found["maturity_code"], "")
    wrong = pc.index(pc.equal(said, found["symbol"]), False).as_py()
    if wrong >= 0:
        raise DataError(
            f"{shown} row {wrong + 1}: symbol must be commodity and maturity_code; was {found['symbol'][wrong]}"
        )
    none = pa.nulls(len(said), pa.float64())
    return {"session": found["refdate"], "code": said} | {
        column: found.get(theirs, none) for theirs, column in _NUMBERS.items()
    }


def _page_columns(content: bytes, shown: str) -> dict[str, pa.Array]:
    rows, inputs, text = page_table(content, "tblDadosAjustes", shown)
    if not rows:
        reason = "has no data for its day" if "dados para a data" in text else "has no table of settlements"
        raise DataError(f"{shown} {reason}: no session that day, or the download failed; open it in a browser")
    updated, asked = _UPDATED.search(text), inputs.get("dData1", "")
    if updated is None and not asked:
        raise DataError(f"{shown} has settlements and no date (dData1, Atualizado em): download the whole page")
    session = day_of(updated[1] if updated else asked, shown, "the date of the page")
    if updated and asked and day_of(asked, shown, "dData1") != session:
        raise DataError(f"{shown} was asked for {asked} and shows the settlements of {updated[1]}: fetch it again")
    root, codes = "", []
    numbers: dict[str, list[float]] = {"previous": [], "settlement": [], "change": [], "value": []}
    for number, cells in enumerate(rows, 1):
        where = f"{shown} table row {number}"
        if len(cells) != _CELLS or not _MATURITY.fullmatch(cells[1].replace(" ", "")):
            if number == 1 or not any(cells):
                continue
            raise DataError(f"{where}: must have commodity, maturity and four numbers; was {cells[:_CELLS]}")
        root = cells[0].split("-")[0].strip() or root
        if not root:
            raise DataError(f"{where}: names no commodity, and none is above it")
        codes.append(root + cells[1].replace(" ", ""))
        for column, said in zip(numbers, cells[2:], strict=True):
            numbers[column].append(comma_number(said, where, column))
    if not codes:
        raise DataError(f"{shown} has an empty table of settlements: fetch it again")
    columns = {name: pa.array(values, pa.float64()) for name, values in numbers.items()}
    days = pa.array([session] * len(codes), pa.date32())
    return {"session": days, "code": pa.array(codes, pa.string()), **columns}


def _table(columns: dict[str, pa.Array], tally: Tally, shown: str) -> pa.Table:
    first_days = pc.fill_null(pc.equal(columns["previous"], 0.0), False)
    none = pa.scalar(None, pa.float64())
    figures = {
        "settlement": columns["settlement"],
        "previous": pc.if_else(first_days, none, columns["previous"]),
        "change": pc.if_else(first_days, none, columns["change"]),
        "value": columns["value"],
    }
    count = pc.sum(first_days).as_py() or 0
    if count:
        tally.add(RULE_NO_PREVIOUS, count)
    try:
        return settlement_table(pa.chunked_array([columns["session"]]), pa.chunked_array([columns["code"]]), figures)
    except ValueError as error:
        raise DataError(f"{shown}: {error}") from error


def _count_oddities(rows: pa.Table, tally: Tally) -> None:
    settlement, previous, change, value = (
        rows[name].to_numpy() for name in ("settlement", "previous", "change", "value")
    )
    roots = rows["root"].to_numpy(zero_copy_only=False)
    multiplier = np.array([ROOTS[root].multiplier if root in ROOTS else np.nan for root in roots])
    with np.errstate(invalid="ignore"):
        scale = np.maximum(np.abs(settlement), 1.0)
        _count(tally, RULE_CHANGE, np.abs(settlement - previous - change) > _DECIMALS * scale)
        worth = np.abs(change) * multiplier
        _count(tally, RULE_VALUE, np.abs(worth - value) > np.maximum(_CENT, _DECIMALS * worth))
    for small, large in SAME_SETTLEMENT:
        ours, theirs = (rows.filter(pc.equal(rows["root"], root)) for root in (small, large))
        both = ours.join(theirs, ["session", "maturity"], right_suffix="_large", join_type="inner")
        _count(
            tally,
            RULE_UNLIKE.format(small, large),
            (both["settlement"].to_numpy() != both["settlement_large"].to_numpy()),
        )


def _count(tally: Tally, rule: str, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    if rows.any():
        tally.add(rule, int(rows.sum()))


SETTLEMENTS: Final = SettlementsFeed()
