"""Raw files of reference data from the synthetic exchange: price reports, settlements, rates, index levels.

folder/PR{yymmdd}.zip               a zip in a zip: two versions of the day's BVBG.086 report, the later one whole
folder/ajustes_{yyyymmdd}.html      the page of settlements ("Ajustes do pregão")
folder/settlements.csv              all settlements as one table
folder/sgs_12.json, sgs_4389.csv    the CDI in per cent per day, and per year with a decimal comma
folder/index_levels.csv             the exchange's index (FICT)
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from data_pipeline.synthetic.books import Books, open_exchange
from data_pipeline.synthetic.calendars import Days
from data_pipeline.synthetic.config import ExchangeConfig
from data_pipeline.synthetic.feeds import brazilian_date, brazilian_number, cdi_json
from data_pipeline.synthetic.futures import NAMES, Settlement, simulate_futures
from data_pipeline.synthetic.price_reports import KIND, ShareFigures, price_report, share_figures
from data_pipeline.synthetic.streams import FloatArray

INDEX = "FICT"
FIRST_LEVEL = 100_000.0


@dataclass(frozen=True, slots=True)
class ReferenceFiles:
    """What was written, and the truth behind it.

    Attributes
    ----------
    reports, pages : mapping of datetime.date to pathlib.Path
        Price report and page of settlements of each session.
    settlements, rates, annual_rates, levels : pathlib.Path
        `settlements.csv`, `sgs_12.json`, `sgs_4389.csv`, `index_levels.csv`.
    shares : mapping of datetime.date to sequence of ShareFigures
        The shares that traded.
    futures : mapping of datetime.date to sequence of Settlement
    cdi : mapping of datetime.date to float
        Per cent per day, every bank day.
    index : mapping of datetime.date to float
        Level at each session's close.
    """

    reports: Mapping[date, Path]
    pages: Mapping[date, Path]
    settlements: Path
    rates: Path
    annual_rates: Path
    levels: Path
    shares: Mapping[date, Sequence[ShareFigures]]
    futures: Mapping[date, Sequence[Settlement]]
    cdi: Mapping[date, float]
    index: Mapping[date, float]


def write_reference_files(folder: Path | str, config: ExchangeConfig) -> ReferenceFiles:
    """Write the reference files of the exchange that `write_exchange` makes of the same settings.

    Parameters
    ----------
    folder : path
        Made where absent; files of the same names are replaced.
    config : ExchangeConfig

    Notes
    -----
    About 2 MB a year of 60 papers; a second of work.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    days, cdi, books = open_exchange(config)
    sessions: list[date] = [day.item() for day in books.sessions]
    levels = np.round(FIRST_LEVEL * np.exp(np.cumsum(books.market.market)), 2)
    futures: dict[date, list[Settlement]] = {session: [] for session in sessions}
    for one in simulate_futures(config.seed, books.sessions, days, cdi, levels):
        futures[one.session].append(one)
    figures = share_figures(books)
    shares = {session: figures.get(row, []) for row, session in enumerate(sessions)}
    reports = {
        session: _write_report(folder, session, shares[session], _silent(books, row, shares[session]), futures[session])
        for row, session in enumerate(sessions)
    }
    pages = {
        session: _write(folder, f"ajustes_{session:%Y%m%d}.html", _page(session, futures[session]))
        for session in sessions
    }
    return ReferenceFiles(
        reports=reports,
        pages=pages,
        settlements=_write(folder, "settlements.csv", _settlements(one for day in sessions for one in futures[day])),
        rates=_write(folder, "sgs_12.json", cdi_json(days, cdi)),
        annual_rates=_write(folder, "sgs_4389.csv", _annual_rates(days, cdi)),
        levels=_write(folder, "index_levels.csv", _levels(sessions, levels)),
        shares=shares,
        futures=futures,
        cdi=dict(zip((day.item() for day in days), cdi.tolist(), strict=True)),
        index=dict(zip(sessions, levels.tolist(), strict=True)),
    )


def _silent(books: Books, row: int, traded: Sequence[ShareFigures]) -> list[str]:
    """Tickers of the papers listed on the row that did not trade."""
    names = {one.ticker for one in traded}
    listed = (
        paper.new_ticker if row >= paper.renamed_row else paper.ticker
        for paper in books.papers
        if paper.first_row <= row < paper.end_row
    )
    return sorted(set(listed) - names)


def _write_report(
    folder: Path, session: date, shares: Sequence[ShareFigures], silent: Sequence[str], futures: Sequence[Settlement]
) -> Path:
    """The day's archive: at 18:30 in Brasilia a report without settlements, two hours later the one that holds."""
    early, late = f"{session}T21:30:00Z", f"{session}T23:30:00Z"
    versions = {
        f"{KIND}_BV000328{session:%Y%m%d}213000.xml": price_report(session, shares[:1], silent, (), early),
        f"{KIND}_BV000328{session:%Y%m%d}233000.xml": price_report(session, shares, silent, futures, late),
    }
    inner = _zipped({name: text.encode() for name, text in versions.items()})
    path = folder / f"PR{session:%y%m%d}.zip"
    path.write_bytes(_zipped({path.name: inner}))
    return path


def _zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on its members only."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED, 4)
    return buffer.getvalue()


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode("utf-8"))
    return path


def _page(session: date, futures: Sequence[Settlement]) -> str:
    day = f"{session:%d/%m/%Y}"
    lines = [
        '<!DOCTYPE html><html><head><meta charset="utf-8"><title>Ajustes do preg&atilde;o</title></head><body>',
        f'<form><input type="text" id="dData1" name="dData1" value="{day}"></form><p>Atualizado em: {day}</p>',
        '<table id="tblDadosAjustes"><thead><tr><th>Mercadoria</th><th>Vencimento</th>',
        "<th>Pre&ccedil;o de ajuste anterior</th><th>Pre&ccedil;o de ajuste Atual</th><th>Varia&ccedil;&atilde;o</th>",
        "<th>Valor do ajuste por contrato (R$)</th></tr></thead><tbody>",
    ]
    above = ""
    for one in futures:
        commodity = "" if one.root == above else f"{one.root} - {NAMES[one.root]}"
        above = one.root
        numbers = (brazilian_number(value, 3) for value in (one.previous or 0.0, one.price, one.change))
        cells = (commodity, one.maturity, *numbers, brazilian_number(abs(one.value), 2))
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join([*lines, "</tbody></table></body></html>", ""])


def _settlements(futures: Iterable[Settlement]) -> str:
    lines = ["refdate,symbol,commodity,maturity_code,previous_price,price,price_change,settlement_value"]
    for one in futures:
        numbers = (one.previous or 0.0, one.price, one.change, abs(one.value))
        lines.append(",".join((str(one.session), one.symbol, one.root, one.maturity, *map(repr, numbers))))
    return "\n".join([*lines, ""])


def _annual_rates(days: Days, cdi: FloatArray) -> str:
    annual = 100.0 * ((1.0 + cdi / 100.0) ** 252 - 1.0)
    rows = (f'"{brazilian_date(day)}";"{brazilian_number(rate, 2)}"' for day, rate in zip(days, annual, strict=True))
    return "\r\n".join(['"data";"valor"', *rows, ""])


def _levels(sessions: Sequence[date], levels: FloatArray) -> str:
    rows = (f"{INDEX},{session},{level:.2f}" for session, level in zip(sessions, levels, strict=True))
    return "\n".join(["symbol,refdate,value", *rows, ""])
