"""Write a synthetic exchange to disk: raw COTAHIST archives, company events, CDI and, apart from them, the truth.

folder/raw/COTAHIST_A{YYYY}.ZIP                          one member COTAHIST_A{YYYY}.TXT
folder/raw/events/GetListedSupplementCompany_{ROOT}.json
folder/raw/cdi.json
folder/truth/truth.json, daily.parquet, market.parquet
folder/exchange.json                                     settings and the sha256 of every file: the commit point
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_pipeline.synthetic.config import ExchangeConfig

if TYPE_CHECKING:
    from data_pipeline.synthetic.books import Books
    from data_pipeline.synthetic.writer import Records

FORMAT_VERSION = 1
_COMPRESSION = 4
_OWN_NAMES = ("draft", "raw", "truth", "exchange.json.partial")


@dataclass(frozen=True, slots=True)
class ExchangeManifest:
    """A written exchange.

    Attributes
    ----------
    folder : pathlib.Path
        Where it lies; `raw` is the part to ingest and `truth` the part that nobody may see.
    config : ExchangeConfig
        What it was made from.
    files : mapping of str to str
        Path relative to `folder` -> sha256, in the order of the paths.
    records : mapping of str to int
        COTAHIST file name -> number of quote records.
    """

    folder: Path
    config: ExchangeConfig
    files: Mapping[str, str]
    records: Mapping[str, int]

    @property
    def raw(self) -> Path:
        """Folder of the raw files."""
        return self.folder / "raw"

    @property
    def truth(self) -> Path:
        """Folder of what the raw files do not show."""
        return self.folder / "truth"

    @property
    def raw_files(self) -> tuple[Path, ...]:
        """Every file to ingest, in the order of the paths."""
        return tuple(self.folder / name for name in self.files if name.startswith("raw/"))


def write_exchange(folder: str | Path, config: ExchangeConfig | None = None, /, **settings: Any) -> ExchangeManifest:
    """Write the exchange that the settings describe and return its manifest.

    Parameters
    ----------
    folder
        New, empty, or holding the same exchange (then nothing is written).
    config
        The settings; or give the fields of `ExchangeConfig` as keywords, at least `seed`, `first_session` and
        `last_session`.

    Raises
    ------
    ValueError
        When a setting makes no sense, or the folder holds something else.
    """
    if (config is None) == (not settings):
        raise ValueError("config must be given either as an ExchangeConfig or as its fields by keyword, not both")
    chosen = ExchangeConfig(**settings) if config is None else config
    folder = Path(folder)
    present = _present_exchange(folder, chosen)
    if present is not None:
        return present
    draft = folder / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "raw" / "events").mkdir(parents=True)
    (draft / "truth").mkdir()
    records = _write_files(draft, chosen)
    files = {
        str(path.relative_to(draft).as_posix()): sha256(path.read_bytes()).hexdigest()
        for path in sorted(draft.rglob("*"))
        if path.is_file()
    }
    for part in ("raw", "truth"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (draft / part).rename(folder / part)
    _commit(folder, chosen, files, records)
    draft.rmdir()
    return ExchangeManifest(folder, chosen, files, records)


def _present_exchange(folder: Path, config: ExchangeConfig) -> ExchangeManifest | None:
    """The manifest of the same exchange when it is there, whole; None when the folder is free for it."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise ValueError(f"folder must be a folder; {folder} is a file")
    commit = folder / "exchange.json"
    if not commit.exists():
        foreign = [path.name for path in folder.iterdir() if path.name not in _OWN_NAMES]
        unfinished = (folder / "draft").exists()
        if foreign or (not unfinished and any(folder.iterdir())):
            raise ValueError(f"folder must be empty or hold a synthetic exchange; {folder} holds something else")
        return None
    stored = json.loads(commit.read_text("utf-8"))
    if stored.get("format_version") != FORMAT_VERSION or stored.get("config") != config.as_json():
        raise ValueError(f"folder must be empty or hold this same exchange; {folder} holds one of other settings")
    files = stored["files"]
    if not all(_matches(folder / name, digest) for name, digest in files.items()):
        return None
    return ExchangeManifest(folder, config, files, stored["records"])


def _matches(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path.read_bytes()).hexdigest() == digest


def _commit(folder: Path, config: ExchangeConfig, files: Mapping[str, str], records: Mapping[str, int]) -> None:
    content = {"format_version": FORMAT_VERSION, "config": config.as_json(), "records": records, "files": files}
    partial = folder / "exchange.json.partial"
    partial.write_text(json.dumps(content, indent=1), "utf-8")
    partial.replace(folder / "exchange.json")


def _write_files(draft: Path, config: ExchangeConfig) -> Mapping[str, int]:
    """Simulate, write everything below `draft`, and return the number of records per COTAHIST file."""
    import pyarrow.parquet as pq

    from data_pipeline.synthetic import feeds, truth
    from data_pipeline.synthetic.books import open_exchange

    days, cdi, books = open_exchange(config)
    (draft / "raw" / "cdi.json").write_text(feeds.cdi_json(days, cdi), "utf-8")
    issuers: dict[str, list[Any]] = {}
    for column, paper in enumerate(books.papers):
        own = [one for one in books.actions if one.column == column]
        issuers.setdefault(paper.root, []).append((paper, own))
    for group in issuers.values():
        if any(actions for _, actions in group):
            code = group[0][0].new_ticker[:4] or group[0][0].root
            path = draft / "raw" / "events" / f"GetListedSupplementCompany_{code}.json"
            path.write_text(feeds.issuer_json(group, books.sessions), "utf-8")

    described = json.dumps(truth.describe_truth(config, books), indent=1)
    (draft / "truth" / "truth.json").write_text(described, "utf-8")
    pq.write_table(truth.daily_truth(books), draft / "truth" / "daily.parquet")
    pq.write_table(truth.market_truth(books), draft / "truth" / "market.parquet")
    return _write_years(draft / "raw", books)


def _write_years(folder: Path, books: Books) -> Mapping[str, int]:
    """One archive per year, in B3's order: the cash part by day, then the dates start again for the derivatives.

    A year is compressed while the next one is made, so at most two are in memory.
    """
    years = np.unique(books.sessions.astype("datetime64[Y]"))
    counts: dict[str, int] = {}
    with ThreadPoolExecutor(1) as packer:
        pending = None
        for year in years:
            start, end = year.astype("datetime64[D]"), (year + np.timedelta64(1, "Y")).astype("datetime64[D]")
            parts = (books.cash_part(start, end), books.derivative_part(start, end))
            last = books.sessions[books.sessions < end][-1]
            if pending is not None:
                pending.result()
            pending = packer.submit(_write_year, folder, int(str(year)), last, parts)
            counts[f"COTAHIST_A{year}.ZIP"] = sum(len(part) for part in parts)
        if pending is not None:
            pending.result()
    return counts


def _write_year(folder: Path, year: int, last: np.datetime64, parts: tuple[Records, ...]) -> None:
    from data_pipeline.synthetic.writer import annual_file, write_archive

    name = f"COTAHIST_A{year}"
    write_archive(folder / f"{name}.ZIP", f"{name}.TXT", annual_file(year, last, parts), _COMPRESSION)
