"""Who issues a paper and in which sector it works, to the table issuers: B3's record of a company, CVM's register.

B3's GetDetailsCompany (JSON) tells a company's papers with their ISINs, its names, numbers and B3's classification,
"sector / subsector / segment". It is known from its `lastDate`, the hour in Sao Paulo at which B3 last wrote it.

CVM's cad_cia_aberta.csv (`;`, ISO-8859-1) tells every registered company, none of its papers: its symbol is the CNPJ,
its sector CVM's own word. The file bears no date. It is known from the option `known_at` (yyyy-mm-dd, when that day is
over in Sao Paulo), else from a date in its name, else from the file's time of change, which is counted.

Rules, each counted: papers without a code are left out; of a company that the register tells several times (once for
each market) the active one holds, else the last.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.feeds.reference.files import content_of, names_in
from data_pipeline.feeds.reference.text import SAO_PAULO, day_of, decoded, end_of_day, nanoseconds
from data_pipeline.tables.catalog import ISSUERS as SPEC

RULE_NO_CODE: Final = "papers_without_a_code_left_out"
RULE_REPEATED: Final = "companies_told_several_times"
RULE_FILE_TIME: Final = "known_from_the_files_own_time_of_change"
MOST_BYTES: Final = 64 << 20
_REGISTER: Final = ("CNPJ_CIA", "DENOM_SOCIAL", "DENOM_COMERC", "SIT", "CD_CVM", "SETOR_ATIV")
_REGISTER_NEEDED: Final = ("CNPJ_CIA", "DENOM_SOCIAL", "SIT", "CD_CVM")
_LAST_DATE: Final = re.compile(r"\d{2}/\d{2}/\d{4} \d{2}:\d{2}:\d{2}")
_NAMED_DAY: Final = re.compile(r"(20\d{2})-?(\d{2})-?(\d{2})(?!\d)")
_CODE: Final = re.compile(r"[A-Z0-9]{4,20}")
_ISIN: Final = re.compile(r"[A-Z]{2}[A-Z0-9]{9}\d")


class IssuersFeed:
    """GetDetailsCompany JSON and CVM's register of companies."""

    name = "issuers"

    def recognises(self, head: RawHead) -> bool:
        """Whether the content says so."""
        start = decoded(head.start).lstrip()
        if start.startswith(("{", "[")):
            return '"issuingCompany"' in start and '"companyName"' in start
        header = [name.strip().strip('"').upper() for name in start.split("\n", 1)[0].split(";")]
        return set(_REGISTER_NEEDED) <= set(header)

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file alone."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Rows of issuers, of venue B3 or CVM.

        Parameters
        ----------
        files, tally
        options : mapping
            "known_at": the day on which the file was read from its source, yyyy-mm-dd.

        Raises
        ------
        DataError
            When the file is damaged, lacks a name or a column, or has a number or date that is none.
        """
        (path,) = files
        for name in names_in(path):
            shown = f"{path.name}:{name}" if name else path.name
            text = decoded(content_of(path, name, MOST_BYTES)).strip("\0 \r\n\t")
            if not text:
                raise DataError(f"{shown} is empty: the download failed; fetch it again")
            venue = "B3" if text.startswith(("{", "[")) else "CVM"
            parse = _details if venue == "B3" else _register
            rows = parse(text, shown, path, tally, options)
            if rows:
                table = pa.Table.from_pylist(rows, schema=pa.schema([_plain(field) for field in SPEC.schema]))
                yield Batch("issuers", venue, table.cast(SPEC.schema))


def _plain(field: pa.Field) -> pa.Field:
    # nanoseconds are given as whole numbers: Python's own times end at microseconds
    return field.with_type(pa.int64()) if pa.types.is_timestamp(field.type) else field


def _details(text: str, shown: str, path: Path, tally: Tally, options: Mapping[str, str]) -> list[dict[str, Any]]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown} is no JSON ({error}): fetch it again") from error
    records = document if isinstance(document, list) else [document]
    rows: dict[str, dict[str, Any]] = {}
    for record in records:
        if not isinstance(record, dict):
            raise DataError(f"{shown} must be B3's record of a company; was {str(record)[:40]!r}: fetch it again")
        for row in _papers(record, shown, path, tally, options):
            rows[row["symbol"]] = row
    return list(rows.values())


def _papers(
    record: dict[str, Any], shown: str, path: Path, tally: Tally, options: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    issuer, name = _text(record, "issuingCompany"), _text(record, "companyName")
    if issuer is None or name is None:
        raise DataError(f"{shown}: issuingCompany and companyName must be text: fetch it again")
    known = _last_date(record, shown) if "known_at" not in options else None
    if known is None:
        known = _known(shown, path, tally, options)
    parts = [part.strip() or None for part in (_text(record, "industryClassification") or "").split("/")]
    classified = (parts + [None] * 3)[:3]
    cnpj = re.sub(r"\D", "", _text(record, "cnpj") or "")
    codes = record.get("otherCodes")
    papers = codes if isinstance(codes, list) and codes else [{"code": record.get("code"), "isin": None}]
    status = _text(record, "status")
    for paper in papers:
        tally.rows += 1
        code = _text(paper, "code") if isinstance(paper, dict) else None
        if code is None:
            tally.add(RULE_NO_CODE, 1)
            continue
        isin = _text(paper, "isin")
        if not _CODE.fullmatch(code) or (isin is not None and not _ISIN.fullmatch(isin)):
            raise DataError(f"{shown}: a paper must have a code and an ISIN; was {code[:20]!r}, {str(isin)[:20]!r}")
        yield _row(
            known,
            symbol=code,
            issuer=issuer,
            isin=isin,
            name=name,
            trading_name=_text(record, "tradingName"),
            cnpj=_cnpj(cnpj, shown) if cnpj else None,
            cvm_code=_text(record, "codeCVM"),
            sector=classified[0],
            subsector=classified[1],
            segment=classified[2],
            active=None if status is None else status == "A",
        )


def _register(text: str, shown: str, path: Path, tally: Tally, options: Mapping[str, str]) -> list[dict[str, Any]]:
    lines = text.split("\n")
    header = [name.strip().strip('"').upper() for name in lines[0].split(";")]
    missing = [name for name in _REGISTER_NEEDED if name not in header]
    if missing:
        raise DataError(f"{shown} lacks the column {missing[0]}: it is no register of companies of CVM")
    known = _known(shown, path, tally, options)
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        tally.rows += 1
        cells = line.rstrip("\r").split(";")
        if len(cells) != len(header):
            raise DataError(f"{shown} line {number}: must have {len(header)} columns; has {len(cells)}: fetch it again")
        said = {name: cell.strip().strip('"') or None for name, cell in zip(header, cells, strict=True)}
        if said["DENOM_SOCIAL"] is None:
            raise DataError(f"{shown} line {number}: DENOM_SOCIAL is absent: fetch it again")
        cnpj = _cnpj(re.sub(r"[./-]", "", said["CNPJ_CIA"] or ""), f"{shown} line {number}")
        row = _row(
            known,
            symbol=cnpj,
            issuer=cnpj,
            isin=None,
            name=said["DENOM_SOCIAL"],
            trading_name=said.get("DENOM_COMERC"),
            cnpj=cnpj,
            cvm_code=said["CD_CVM"],
            sector=said.get("SETOR_ATIV"),
            subsector=None,
            segment=None,
            active=None if said["SIT"] is None else said["SIT"].upper().startswith("ATIV"),
        )
        before = rows.get(cnpj)
        if before is not None:
            tally.add(RULE_REPEATED, 1)
        if before is None or row["active"] or not before["active"]:
            rows[cnpj] = row
    if not rows:
        raise DataError(f"{shown} has no companies: fetch it again")
    return list(rows.values())


def _row(known: int, **columns: Any) -> dict[str, Any]:
    day = datetime.date(1970, 1, 1) + datetime.timedelta(days=known // 86_400_000_000_000)
    return {"known_on": day, "known_at": known, **columns}


def _known(shown: str, path: Path, tally: Tally, options: Mapping[str, str]) -> int:
    """When the file was surely known; its own time of change where nothing says more."""
    if "known_at" in options:
        return end_of_day(day_of(options["known_at"], "option known_at", "the day"))
    named = _NAMED_DAY.search(shown)
    if named is not None:
        return end_of_day(day_of("-".join(named.groups()), shown, "the day in the name"))
    tally.add(RULE_FILE_TIME, 1)
    return nanoseconds(datetime.datetime.fromtimestamp(int(path.stat().st_mtime), datetime.UTC), shown)


def _last_date(record: dict[str, Any], shown: str) -> int | None:
    said = _text(record, "lastDate")
    if said is None:
        return None
    try:
        if not _LAST_DATE.fullmatch(said):
            raise ValueError(said)
        moment = datetime.datetime.strptime(said, "%d/%m/%Y %H:%M:%S")
    except ValueError as error:
        raise DataError(f"{shown}: lastDate must be a time dd/mm/yyyy hh:mm:ss; was {said[:40]!r}") from error
    return nanoseconds(moment.replace(tzinfo=SAO_PAULO), shown)


def _cnpj(digits: str, where: str) -> str:
    if not re.fullmatch(r"\d{1,14}", digits, re.ASCII):
        raise DataError(f"{where}: a CNPJ must have up to 14 digits; was {digits[:40]!r}")
    return digits.zfill(14)


def _text(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    return value.strip() or None if isinstance(value, str) else None


ISSUERS: Final = IssuersFeed()
