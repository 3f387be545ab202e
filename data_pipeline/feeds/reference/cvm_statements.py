"""Rows of a CVM statement as facts: scale, span, document and day of knowledge worked out for whole columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Tally
from data_pipeline.feeds.reference.cvm_documents import Documents, document_keys
from data_pipeline.tables.catalog import FACTS

RULE_UNDATED: Final = "accounts_whose_document_is_not_in_the_index_left_out"
RULE_COMPARATIVE: Final = "accounts_of_earlier_periods_left_out"
RULE_AHEAD: Final = "accounts_of_periods_after_the_documents_left_out"
RULE_BACKWARD: Final = "accounts_whose_span_ends_before_it_begins_left_out"
_KEY_COLUMNS: Final = ("CNPJ_CIA", "DT_REFER", "VERSAO")
_SCALES: Final = {"UNIDADE": "e0", "MIL": "e3", "MILHAR": "e3", "MILHAO": "e6", "MILHÃO": "e6"}
_SHARES: Final = (
    "QT_ACAO_ORDIN_CAP_INTEGR",
    "QT_ACAO_PREF_CAP_INTEGR",
    "QT_ACAO_TOTAL_CAP_INTEGR",
    "QT_ACAO_ORDIN_TESOURO",
    "QT_ACAO_PREF_TESOURO",
    "QT_ACAO_TOTAL_TESOURO",
)
_MOMENTS: Final = ("BPA", "BPP")
_NUMBER: Final = r"^-?\d{1,18}(\.\d{1,15})?$"
_DAY: Final = r"^(19|20|21)\d{2}-\d{2}-\d{2}$"
_CNPJ: Final = r"^\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}$"
_VERSION: Final = r"^\d{1,4}$"
_ACCOUNT: Final = r"^\d{1,2}(\.\d{1,4}){0,8}$"
_ORDER: Final = r"^(PEN)?[UÚ]LTIMO$"
_PER_SHARE: Final = r"^3\.99(\.|$)"


@dataclass(frozen=True, slots=True)
class Statement:
    """Which statement a member of the zip is.

    Attributes
    ----------
    kind : str
        ITR or DFP.
    title : str
        BPA, DRE, ..., or composicao_capital.
    scope : str
        con, ind, or nothing.
    """

    kind: str
    title: str
    scope: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read."""
        if not self.scope:
            return (*_KEY_COLUMNS, *_SHARES)
        spans = () if self.title in _MOMENTS else ("DT_INI_EXERC",)
        equity = ("COLUNA_DF",) if self.title == "DMPL" else ()
        end = ("DT_FIM_EXERC", "CD_CONTA", "VL_CONTA")
        return (*_KEY_COLUMNS, "MOEDA", "ESCALA_MOEDA", "ORDEM_EXERC", *spans, *end, *equity)


def facts_of(
    rows: pa.Table,
    statement: Statement,
    documents: Documents,
    tally: Tally,
    *,
    comparatives: bool,
    companies: pa.Array | None,
) -> pa.Table:
    """The rows as the table facts, repeated text as dictionaries.

    Raises
    ------
    DataError
        When a value is no number, date, CNPJ, version, account or scale.
    """
    rows = _trimmed(rows)
    _check(rows, "CNPJ_CIA", _CNPJ, "a CNPJ 00.000.000/0000-00")
    _check(rows, "DT_REFER", _DAY, "a date yyyy-mm-dd")
    _check(rows, "VERSAO", _VERSION, "a whole number")
    cnpj = pc.replace_substring_regex(rows["CNPJ_CIA"], r"\D", "")
    if companies is not None:
        kept = pc.is_in(cnpj, companies)
        rows, cnpj = rows.filter(kept), cnpj.filter(kept)
    place = pc.index_in(document_keys(rows), documents.keys)
    dated = pc.is_valid(place)
    rows, cnpj, place = _keep((rows, cnpj, place), dated, tally, RULE_UNDATED)
    known = documents.known_at.take(place.combine_chunks())
    if statement.scope:
        return _accounts(rows, cnpj, known, statement, tally, comparatives)
    return _shares(rows, cnpj, known, statement)


def _accounts(
    rows: pa.Table, cnpj: pa.ChunkedArray, known: pa.Array, statement: Statement, tally: Tally, comparatives: bool
) -> pa.Table:
    _check(rows, "CD_CONTA", _ACCOUNT, "an account like 3.01.02")
    _check(rows, "VL_CONTA", _NUMBER, "a number")
    _check(rows, "DT_FIM_EXERC", _DAY, "a date yyyy-mm-dd")
    _check(rows, "ORDEM_EXERC", _ORDER, "ÚLTIMO or PENÚLTIMO")
    earlier = pc.starts_with(rows["ORDEM_EXERC"], "PEN")
    if not comparatives:
        rows, cnpj, known, earlier = _keep((rows, cnpj, known, earlier), pc.invert(earlier), tally, RULE_COMPARATIVE)
    end = _days(rows, "DT_FIM_EXERC")
    ahead = pc.greater(end, _days(rows, "DT_REFER"))
    rows, cnpj, known, earlier, end = _keep((rows, cnpj, known, earlier, end), pc.invert(ahead), tally, RULE_AHEAD)
    start, months = pa.nulls(rows.num_rows, pa.date32()), None
    if "DT_INI_EXERC" in rows.column_names:
        _check(rows, "DT_INI_EXERC", _DAY, "a date yyyy-mm-dd")
        start = _days(rows, "DT_INI_EXERC")
        forward = pc.less_equal(start, end)
        rows, cnpj, known, earlier, end, start = _keep(
            (rows, cnpj, known, earlier, end, start), forward, tally, RULE_BACKWARD
        )
        months = _span(start, end)
    parts = [pa.scalar(f"{statement.title}_{statement.scope}"), rows["CD_CONTA"]]
    parts += [rows["COLUNA_DF"]] if "COLUNA_DF" in rows.column_names else []
    parts += [months] if months is not None else []
    per_share = pc.match_substring_regex(rows["CD_CONTA"], _PER_SHARE)
    per_share = pc.and_(per_share, pa.scalar(statement.title == "DRE"))
    shown = pc.binary_join_element_wise(
        pa.scalar(f"{statement.kind}"), rows["DT_REFER"], pc.binary_join_element_wise("v", rows["VERSAO"], ""), " "
    )
    source = pc.if_else(earlier, pc.binary_join_element_wise(shown, "comparative", " "), shown)
    return _table(
        known=known,
        symbol=cnpj,
        field=pc.binary_join_element_wise(*parts, "/"),
        event_start=start,
        event_time=end,
        version=rows["VERSAO"],
        value=_values(rows, per_share, statement),
        unit=_unit(rows, per_share),
        source=source,
    )


def _shares(rows: pa.Table, cnpj: pa.ChunkedArray, known: pa.Array, statement: Statement) -> pa.Table:
    """Numbers of shares, as the companies wrote them: some of them in thousands, which nothing in the file tells."""
    source = pc.binary_join_element_wise(
        pa.scalar(statement.kind), rows["DT_REFER"], pc.binary_join_element_wise("v", rows["VERSAO"], ""), " "
    )
    parts = []
    for column in _SHARES:
        _check(rows, column, _NUMBER, "a number")
        parts.append(
            _table(
                known=known,
                symbol=cnpj,
                field=pa.array([f"capital/{column}"] * rows.num_rows, pa.string()),
                event_start=pa.nulls(rows.num_rows, pa.date32()),
                event_time=_days(rows, "DT_REFER"),
                version=rows["VERSAO"],
                value=rows[column].cast(pa.float64()),
                unit=pa.array(["shares"] * rows.num_rows, pa.string()),
                source=source,
            )
        )
    return pa.concat_tables(parts)


def _table(*, known: pa.Array, version: pa.ChunkedArray, **columns: pa.Array) -> pa.Table:
    number = version.cast(pa.int32())
    columns |= {"known_at": known, "known_on": known.cast(pa.date32()), "version": pc.max_element_wise(number, 1)}
    shortened = {"symbol", "field", "unit", "source"}
    arrays = {}
    for name in FACTS.schema.names:
        array = columns[name]
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        arrays[name] = array.dictionary_encode() if name in shortened else array.cast(FACTS.schema.field(name).type)
    return pa.table(arrays)


def _values(rows: pa.Table, per_share: pa.ChunkedArray, statement: Statement) -> pa.Array:
    """Doubles nearest to the value in units: the scale is put into the text as an exponent."""
    scale = pc.utf8_upper(rows["ESCALA_MOEDA"])
    known = pc.is_in(scale, pa.array(list(_SCALES)))
    wrong = pc.index(known, False).as_py()
    if wrong >= 0:
        raise DataError(
            f"{statement.kind} {statement.title}: ESCALA_MOEDA must be one of {', '.join(_SCALES)}; was "
            f"{str(scale[wrong].as_py())[:40]!r}"
        )
    exponents = pa.array(list(_SCALES.values())).take(pc.index_in(scale, pa.array(list(_SCALES))).combine_chunks())
    exponents = pc.if_else(per_share.combine_chunks(), "e0", exponents)
    return pc.binary_join_element_wise(rows["VL_CONTA"].combine_chunks(), exponents, "").cast(pa.float64())


def _unit(rows: pa.Table, per_share: pa.ChunkedArray) -> pa.Array:
    currency = pc.utf8_upper(rows["MOEDA"])
    currency = pc.if_else(pc.equal(currency, "REAL"), "R$", currency)
    currency = pc.if_else(pc.equal(currency, ""), "unknown", currency)
    return pc.if_else(per_share, pc.binary_join_element_wise(currency, "per share", " "), currency)


def _span(start: pa.Array, end: pa.Array) -> pa.Array:
    """ "3m" for whole calendar months, "87d" for any other number of days, first and last included."""
    first, last = (np.asarray(day.cast(pa.int32())).astype("datetime64[D]") for day in (start, end))
    after = last + np.timedelta64(1, "D")
    begin, stop = first.astype("datetime64[M]"), after.astype("datetime64[M]")
    whole = (begin.astype("datetime64[D]") == first) & (stop.astype("datetime64[D]") == after)
    months, days = (stop - begin).astype(int).astype(str), (after - first).astype(int).astype(str)
    return pa.array(np.where(whole, np.char.add(months, "m"), np.char.add(days, "d")), pa.string())


def _trimmed(rows: pa.Table) -> pa.Table:
    return pa.table({name: pc.utf8_trim_whitespace(rows[name]) for name in rows.column_names})


def _days(rows: pa.Table, column: str) -> pa.Array:
    try:
        return rows[column].combine_chunks().cast(pa.date32())
    except pa.ArrowInvalid as error:
        raise DataError(f"{column} must be a date yyyy-mm-dd ({str(error)[:100]}): download the zip again") from error


def _check(rows: pa.Table, column: str, pattern: str, rule: str) -> None:
    wrong = pc.index(pc.match_substring_regex(rows[column], pattern), False).as_py()
    if wrong >= 0:
        row = {name: str(rows[name][wrong].as_py())[:40] for name in _KEY_COLUMNS}
        raise DataError(
            f"{column} must be {rule}; was {str(rows[column][wrong].as_py())[:40]!r} in the document of "
            f"{row['CNPJ_CIA']}, {row['DT_REFER']}, version {row['VERSAO']}: download the zip again"
        )


def _keep(columns: tuple[pa.Table, ...], chosen: pa.ChunkedArray, tally: Tally, rule: str) -> tuple[pa.Table, ...]:
    count = len(chosen) - (pc.sum(chosen).as_py() or 0)
    if not count:
        return columns
    tally.add(rule, count)
    mask = chosen.combine_chunks() if isinstance(chosen, pa.ChunkedArray) else chosen
    return tuple(column.filter(mask) for column in columns)
