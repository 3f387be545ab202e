"""Quarterly and annual statements of Brazilian companies (CVM: ITR, DFP) to the table facts.

A zip of a year ("itr_cia_aberta_2023.zip", dados.cvm.gov.br) holds an index of documents, with the day on which CVM
received each, and a CSV per statement, consolidated (con) and individual (ind): `;`, ISO-8859-1, no quoting, decimal
points. A fact is one account of one document:

    symbol       CNPJ, 14 digits
    field        DRE_con/3.01/3m: statement, account (CD_CONTA), months that the value sums over; BPA_con/1 of a moment
    event_time   DT_FIM_EXERC, event_start DT_INI_EXERC
    known_at     the midnight in Sao Paulo that ends DT_RECEB
    version      VERSAO of the document: 2 and above are restatements
    source       ITR 2023-06-30 v1, with "comparative" for the columns of an earlier period (ORDEM_EXERC PENULTIMO)

CVM publishes the day of receipt without its hour, and documents are sent up to midnight, so a document is taken as
known when its day is over: later than the truth by hours, never earlier. Values are in units (ESCALA_MOEDA taken in),
but for earnings per share (accounts 3.99), which the files state in R$ per share beside the scale of the statement.

Each year's zip is a venue of its own (CVM_ITR_2023): documents of two years can be received on one day, and a later
file replaces what an earlier one of the same venue said of a company and day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.feeds.reference.cvm_documents import RULE_WIDTH, read_documents, text_batches
from data_pipeline.feeds.reference.cvm_statements import Statement, facts_of
from data_pipeline.feeds.reference.files import names_in, opened
from data_pipeline.feeds.reference.tables import distinct_rows
from data_pipeline.tables.catalog import FACTS

BATCH_ROWS: Final = 65_536
MOST_ROWS: Final = 20_000_000
RULE_REPEATED: Final = "repeated_accounts_left_out"
RULE_CONTRADICTED: Final = "repeated_accounts_with_other_values"
_MEMBER: Final = re.compile(
    r"(?P<kind>itr|dfp)_cia_aberta(?:_(?P<statement>[a-z_]+?)(?:_(?P<scope>con|ind))?)?_(?P<year>\d{4})\.csv",
    re.IGNORECASE,
)
_STATEMENTS: Final = ("BPA", "BPP", "DRE", "DRA", "DFC_MD", "DFC_MI", "DMPL", "DVA")
_CAPITAL: Final = "composicao_capital"


class CvmFeed:
    """ITR and DFP zips of CVM's open data."""

    name = "cvm_statements"

    def recognises(self, head: RawHead) -> bool:
        """Whether the zip's members are those of CVM's statements and the content one of their headers."""
        member = head.member.rpartition("/")[2]
        return bool(_MEMBER.fullmatch(member)) and head.start.lstrip(b'\xef\xbb\xbf"').upper().startswith(b"CNPJ_CIA")

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each zip alone."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Facts, one statement after the other.

        Parameters
        ----------
        files, tally
        options : mapping
            "comparatives": "no" leaves out the columns of earlier periods; "companies": CNPJs, separated by commas,
            when not all are wanted.

        Raises
        ------
        DataError
            When the zip lacks its index, a statement lacks a column, or a value is no number, date or scale.
        """
        (path,) = files
        members = _members(path)
        documents = read_documents(path, members.index, tally)
        chosen = _companies(options)
        comparatives = options.get("comparatives", "yes") != "no"
        for name, statement in members.statements:
            try:
                parts = [
                    facts_of(rows, statement, documents, tally, comparatives=comparatives, companies=chosen)
                    for rows in _rows(path, name, statement, tally)
                ]
            except DataError as error:
                # what is wrong with a row does not know its file
                raise DataError(f"{path.name}:{name}: {error}") from error
            facts = pa.concat_tables(parts).unify_dictionaries() if parts else None
            if facts is None or not facts.num_rows:
                continue
            facts = distinct_rows(facts, FACTS.key, tally, RULE_REPEATED, RULE_CONTRADICTED)
            for start in range(0, facts.num_rows, BATCH_ROWS):
                plain = facts.slice(start, BATCH_ROWS).cast(FACTS.schema)
                yield Batch("facts", f"CVM_{members.kind}_{members.year}", plain)


@dataclass(frozen=True, slots=True)
class _Members:
    """What a zip holds: kind and year, the index, the statements."""

    kind: str
    year: str
    index: str
    statements: tuple[tuple[str, Statement], ...]


def _members(path: Path) -> _Members:
    index, kind, year = "", "", ""
    statements: list[tuple[str, Statement]] = []
    for name in names_in(path):
        found = _MEMBER.fullmatch((name or path.name).rpartition("/")[2])
        if found is None:
            continue
        said = (found["kind"].upper(), found["year"])
        if kind and said != (kind, year):
            raise DataError(f"{path.name} holds {kind} {year} and {said[0]} {said[1]}: give each zip as CVM made it")
        kind, year = said
        title = (found["statement"] or "").upper()
        if not title:
            index = name
        elif title in _STATEMENTS and found["scope"]:
            statements.append((name, Statement(kind, title, found["scope"].lower())))
        elif title == _CAPITAL.upper():
            statements.append((name, Statement(kind, _CAPITAL, "")))
    if not index:
        raise DataError(
            f"{path.name} lacks CVM's index of documents (itr_cia_aberta_YYYY.csv): without it nobody knows when its "
            "figures were public; ingest the zip as CVM made it"
        )
    return _Members(kind, year, index, tuple(statements))


def _rows(path: Path, name: str, statement: Statement, tally: Tally) -> Iterator[pa.Table]:
    total = 0
    with opened(path, name) as raw:
        for rows, skipped in text_batches(raw, statement.columns):
            if skipped:
                tally.add(RULE_WIDTH, skipped)
            tally.rows += rows.num_rows + skipped
            total += rows.num_rows
            if total > MOST_ROWS:
                raise DataError(f"{raw.name} has more than {MOST_ROWS} rows: it is no statement file of CVM")
            yield rows


def _companies(options: Mapping[str, str]) -> pa.Array | None:
    said = options.get("companies")
    if said is None:
        return None
    numbers = [re.sub(r"\D", "", number) for number in said.split(",")]
    wrong = [number for number in numbers if len(number) != 14]
    if wrong:
        raise ValueError(f"companies must be CNPJs of 14 digits, separated by commas; was {said!r}")
    return pa.array(numbers)


CVM: Final = CvmFeed()
