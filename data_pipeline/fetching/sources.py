"""Where the venues put their files: addresses, names, and what each answer must look like.

B3: https://www.b3.com.br (historical quotes, price reports, trade-by-trade files of about the last 20 sessions, the
listed-companies service). Banco Central do Brasil: SGS. CVM: open data portal. Binance: public data.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from data_pipeline.feeds.reference.sgs import sgs_windows
from data_pipeline.fetching.checks import is_file, is_text, is_zip, json_check
from data_pipeline.fetching.items import Item

_B3_HISTORY: Final = "https://bvmf.bmfbovespa.com.br/InstDados/SerHist"
_B3_REPORTS: Final = "https://www.b3.com.br/pesquisapregao/download?filelist="
_B3_TRADES: Final = "https://drp.b3.com.br/rapinegocios/tickercsv"
_B3_COMPANIES: Final = "https://sistemaswebb3-listados.b3.com.br/listedCompaniesProxy/CompanyCall"
_BCB: Final = "https://api.bcb.gov.br/dados/serie"
_CVM: Final = "https://dados.cvm.gov.br/dados/CIA_ABERTA"
_BINANCE: Final = "https://data.binance.vision/data"

MARKETS: Final = {"um": "futures/um", "cm": "futures/cm", "spot": "spot"}
KINDS: Final = ("aggTrades", "trades", "bookTicker")


def cotahist(years: Iterable[int] = (), months: Iterable[str] = (), days: Iterable[dt.date] = ()) -> Iterator[Item]:
    """B3's daily quotes: yearly files (the current year's is up to date), months "2023-01", single sessions."""
    names = [f"COTAHIST_A{_year(year)}.ZIP" for year in years]
    names += [f"COTAHIST_M{month[5:]}{month[:4]}.ZIP" for month in map(_month, months)]
    names += [f"COTAHIST_D{day:%d%m%Y}.ZIP" for day in days]
    for name in names:
        yield Item(f"{_B3_HISTORY}/{name}", f"cotahist/{name}", is_zip)


def b3_trades(days: Iterable[dt.date]) -> Iterator[Item]:
    """B3's trade-by-trade files of whole sessions; the venue keeps about the last 20."""
    for day in days:
        yield Item(f"{_B3_TRADES}/{day}", f"b3_trades/{day:%d-%m-%Y}_NEGOCIOSAVISTA.zip", is_zip)


def price_reports(days: Iterable[dt.date]) -> Iterator[Item]:
    """B3's daily price reports (BVBG.086)."""
    for day in days:
        name = f"PR{day:%y%m%d}.zip"
        yield Item(f"{_B3_REPORTS}{name}", f"price_reports/{name}", is_zip)


def company(issuers: Iterable[str]) -> Iterator[Item]:
    """What B3 says of listed companies: supplement, then details and all cash dividends, a folder an issuer."""
    for issuer in issuers:
        if not re.fullmatch(r"[A-Z][A-Z0-9]{3}", issuer):
            raise ValueError(f"issuer must be four capital letters or digits (PETR, B3SA); was {issuer!r}")
        yield Item(
            _company_url("GetListedSupplementCompany", {"issuingCompany": issuer, "language": "pt-br"}),
            f"company/{issuer}/GetListedSupplementCompany.json",
            json_check(_is_supplement),
            follow=lambda content, issuer=issuer: _company_details(issuer, content),  # type: ignore[misc]
        )


def sgs(series: Iterable[int], start: dt.date, end: dt.date) -> Iterator[Item]:
    """A series of the Banco Central in windows that its service answers (ten years at most)."""
    for code in series:
        if not 1 <= code <= 99_999:
            raise ValueError(f"series must be a number from 1 to 99999; was {code}")
        for first, last in sgs_windows(start, end):
            span = f"dataInicial={first:%d/%m/%Y}&dataFinal={last:%d/%m/%Y}"
            yield Item(
                f"{_BCB}/bcdata.sgs.{code}/dados?formato=json&{span}",
                f"sgs/sgs_{code}_{first}_{last}.json",
                json_check(_is_series),
            )


def cvm(years: Iterable[int], documents: Iterable[str] = ("ITR", "DFP")) -> Iterator[Item]:
    """CVM's yearly archives of quarterly (ITR) and annual (DFP) statements."""
    for year in years:
        for document in documents:
            if document not in ("ITR", "DFP"):
                raise ValueError(f"documents must be ITR or DFP; was {document!r}")
            name = f"{document.lower()}_cia_aberta_{_year(year)}.zip"
            yield Item(f"{_CVM}/DOC/{document}/DADOS/{name}", f"cvm/{name}", is_zip)


def cvm_companies() -> Iterator[Item]:
    """CVM's register of companies."""
    yield Item(f"{_CVM}/CAD/DADOS/cad_cia_aberta.csv", "cvm/cad_cia_aberta.csv", is_text)


def binance(symbols: Iterable[str], days: Iterable[dt.date], kind: str, market: str = "um") -> Iterator[Item]:
    """Binance's daily dumps, each with its published SHA-256."""
    if market not in MARKETS:
        raise ValueError(f"market must be one of {', '.join(MARKETS)}; was {market!r}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; was {kind!r}")
    chosen = list(days)
    for symbol in symbols:
        if not re.fullmatch(r"[A-Z0-9_]{2,30}", symbol):
            raise ValueError(f"symbol must be capital letters and digits (BTCUSDT); was {symbol!r}")
        for day in chosen:
            name = f"{symbol}-{kind}-{day}.zip"
            url = f"{_BINANCE}/{MARKETS[market]}/daily/{kind}/{symbol}/{name}"
            yield Item(url, f"binance_{market}/{name}", is_zip, checksum_url=f"{url}.CHECKSUM")


def address(url: str, sha256: str = "") -> Iterator[Item]:
    """Any one address; the name is the last part of its path."""
    name = re.sub(r"[?#].*", "", url).rstrip("/").rpartition("/")[2]
    if not re.match(r"https?://[^/]+/.+", url) or not re.fullmatch(r"[\w.\-]+", name) or name.startswith("."):
        raise ValueError(f"url must be http(s)://host/path/name; was {url!r}")
    if sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits; was {sha256!r}")
    check = is_zip if name.lower().endswith(".zip") else is_file
    yield Item(url, name, check, sha256=sha256.lower())


def _company_url(call: str, arguments: dict[str, Any]) -> str:
    packed = base64.b64encode(json.dumps(arguments, separators=(",", ":")).encode()).decode()
    return f"{_B3_COMPANIES}/{call}/{packed}"


def _company_details(issuer: str, content: bytes) -> tuple[Item, ...]:
    answer = json.loads(content)
    first = answer[0] if isinstance(answer, list) else answer
    details = _company_url("GetDetailsCompany", {"codeCVM": str(first["codeCVM"]), "language": "pt-br"})
    folder = f"company/{issuer}"
    return (
        Item(details, f"{folder}/GetDetailsCompany.json", json_check(_is_details)),
        _dividends(folder, str(first["tradingName"]).strip()),
    )


def _dividends(folder: str, trading_name: str) -> Item:
    arguments = {"language": "pt-br", "pageNumber": 1, "pageSize": 9999, "tradingName": trading_name}
    url = _company_url("GetListedCashDividends", arguments)
    return Item(url, f"{folder}/GetListedCashDividends.json", json_check(_is_dividends))


def _is_series(content: Any) -> str | None:
    if not isinstance(content, list):
        words = content.get("error") or content.get("message") or content if isinstance(content, dict) else content
        return f"is no list of values (it says: {str(words)[:120]!r})"
    if not content:
        return "holds no value: the series has none in these days"
    sound = all(isinstance(row, dict) and {"data", "valor"} <= row.keys() for row in content)
    return None if sound else "holds rows without data and valor"


def _is_supplement(content: Any) -> str | None:
    first = content[0] if isinstance(content, list) and content else content
    sound = isinstance(first, dict) and {"codeCVM", "tradingName", "cashDividends"} <= first.keys()
    return None if sound else "names no company: B3 knows no issuer of that code, or the service is down"


def _is_details(content: Any) -> str | None:
    sound = isinstance(content, dict) and {"issuingCompany", "otherCodes"} <= content.keys()
    return None if sound else "holds no company details"


def _is_dividends(content: Any) -> str | None:
    page = content.get("page") if isinstance(content, dict) else None
    pages = page.get("totalPages") if isinstance(page, dict) else None
    if not isinstance(pages, int) or not isinstance(content.get("results"), list):
        return "holds no list of dividends"
    return f"is page 1 of {str(pages)[:20]}: the service does not give all records at once" if pages > 1 else None


def _year(year: int) -> int:
    if not 1986 <= year <= 2100:
        raise ValueError(f"year must be from 1986 to 2100; was {year}")
    return year


def _month(month: str) -> str:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
        raise ValueError(f"month must be like 2023-01; was {month!r}")
    return month
