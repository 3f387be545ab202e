"""The raw files of one ingest: found, hashed, and sorted by what they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from data_pipeline.errors import DataError
from data_pipeline.feeds.cotahist.parser import Header, read_header
from data_pipeline.feeds.reading import Feed, RawHead
from data_pipeline.feeds.registry import (
    FEEDS,
    READ_ARCHIVES,
    group_files,
    is_document_too,
    options_of,
    recognise,
    refuse_unknown,
    refuse_unknown_options,
)
from data_pipeline.ingestion.feed_files import Document, read_document
from data_pipeline.ingestion.report import FILES_JOIN
from data_pipeline.raw_file import list_members, open_raw, read_head, sha256_of_file, unpack
from data_pipeline.tasks.ledger import task_key

SUFFIXES: Final = (".zip", ".txt", ".json", ".csv", ".gz", ".xml", ".html", ".npz", ".parquet")
"""Names of files that are looked for in a folder."""
_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class QuoteFile:
    """A COTAHIST file and its header."""

    path: Path
    sha256: str
    header: Header


@dataclass(frozen=True, slots=True)
class FeedFiles:
    """Files that a feed reads together.

    Attributes
    ----------
    feed : str
    paths : tuple of Path
    identity : str
        What the store knows them by: the SHA-256 of a single file's bytes; of several files, or with options, a hash
        of all of them and of the options; of the names too where they alone say the symbol.
    options : mapping
    """

    feed: str
    paths: tuple[Path, ...]
    identity: str
    options: Mapping[str, str]

    @property
    def name(self) -> str:
        """The files' names."""
        return FILES_JOIN.join(path.name for path in self.paths)

    def absolute(self) -> FeedFiles:
        """The same files by their whole paths."""
        return replace(self, paths=tuple(path.absolute() for path in self.paths))


@dataclass(slots=True)
class RawFiles:
    """The files of one call by kind.

    Attributes
    ----------
    quotes, documents, sets
    refused : dict of Path to str
        Why a file is of no kind.
    files : list of Path
        All of them; of a zip that was unpacked its members.
    inside : dict of Path to str
        Name of the zip that a member was unpacked from.
    """

    quotes: list[QuoteFile] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    sets: list[FeedFiles] = field(default_factory=list)
    refused: dict[Path, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    inside: dict[Path, str] = field(default_factory=dict)

    def shown(self, path: Path) -> str:
        """What people call the file: its name, behind that of the zip that it came in."""
        return f"{self.inside[path]}:{path.name}" if path in self.inside else path.name


def find_files(paths: Iterable[Path | str], own: Path | None) -> list[Path]:
    """Every raw file among `paths` and in folders among them, each once; what lies in the folder `own` is none.

    Raises
    ------
    DataError
        When a path does not exist, a folder holds no raw file, or nothing is given.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            named = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            # a store that lies in the folder of its raw files is no raw file
            found = sorted(p for p in named if own is None or own not in p.resolve().parents)
            if not found:
                raise DataError(f"{path} holds no raw file ({', '.join(SUFFIXES)}): name the folder of the raw files")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"{path} does not exist: name a raw file or a folder of raw files")
    if not files:
        raise DataError("no path was given: name a raw file or a folder of raw files")
    return list(dict.fromkeys(files))


def sort_files(files: Sequence[Path], options: Mapping[str, str], unpacked: Path) -> RawFiles:
    """The files by kind. Versions of a session settle in the order of their making, so quotes are in that order.

    A zip of several files whose format is read file by file is unpacked below `unpacked`, and each file of it taken.

    Raises
    ------
    DataError
        When no feed among them understands an option.
    """
    raw = RawFiles()
    known: list[tuple[Path, Feed]] = []
    hashes: dict[Path, str] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        for path, found in _looked(files, options, unpacked, raw, threads):
            raw.files.append(path)
            try:
                if isinstance(found, DataError):
                    raise found
                hashes[path], head = found
                _place(raw, known, head, hashes[path], options)
            except DataError as error:
                raw.refused[path] = str(error)
    sets, refused = group_files(known)
    raw.refused |= refused
    # an option may be meant for a file that was refused: its reason then says more than one about the option
    refuse_unknown_options(options, [feed.name for feed in (FEEDS if raw.refused else [one.feed for one in sets])])
    twice = {document.path for document in raw.documents}
    for one in sets:
        own = options_of(one.feed.name, options)
        # a file that is read twice, as a document and by its feed, is two sources
        facts = {**own, "feed": one.feed.name} if twice & set(one.files) else own
        if one.feed.name in _NAMED:
            facts = {**facts, "names": FILES_JOIN.join(path.name for path in one.files)}
        identity = _identity([hashes[path] for path in one.files], facts)
        raw.sets.append(FeedFiles(one.feed.name, one.files, identity, own))
    raw.quotes.sort(key=lambda quote: (quote.header.generated, quote.path.name, quote.sha256))
    return raw


_NAMED: Final = frozenset(("binance_dump", "hftbacktest"))
"""Feeds whose files say in their names alone whose rows they hold: the same bytes by another name are others."""
_Look = tuple[str, RawHead] | DataError


def _looked(
    files: Sequence[Path], options: Mapping[str, str], unpacked: Path, raw: RawFiles, threads: ThreadPoolExecutor
) -> Iterator[tuple[Path, _Look]]:
    """Hash and head of each file, or why it has none; in the place of a bundle those of its members."""
    for path, found in zip(files, threads.map(_look, files), strict=True):
        try:
            if isinstance(found, DataError) or not _is_bundle(found[1], options):
                yield path, found
                continue
            members = unpack(path, unpacked / found[0])
        except DataError as error:
            yield path, error
            continue
        raw.inside |= dict.fromkeys(members, path.name)
        yield from zip(members, threads.map(_look, members), strict=True)


def _is_bundle(head: RawHead, options: Mapping[str, str]) -> bool:
    """Whether a zip holds several files of which each is read alone."""
    if head.member == head.path.name:
        return False
    feed = None if _is_quotes(head.start) else recognise(head, options=options)
    if feed is not None and feed.name in READ_ARCHIVES:
        return False
    members = list_members(head.path)
    return len(members) > 1 or any(".zip/" in member.lower() for member in members)


def _look(path: Path) -> _Look:
    try:
        return sha256_of_file(path), read_head(path)
    except DataError as error:
        return error


def _place(
    raw: RawFiles, known: list[tuple[Path, Feed]], head: RawHead, sha256: str, options: Mapping[str, str]
) -> None:
    path = head.path
    if _is_quotes(head.start):
        raw.quotes.append(QuoteFile(path, sha256, read_header(path)))
        return
    feed = recognise(head, options=options)
    if feed is not None:
        known.append((path, feed))
        if is_document_too(feed, head):
            raw.documents.append(read_document(path, sha256))
    elif path.suffix.lower() == ".json":
        raw.documents.append(read_document(path, sha256))
    else:
        # of an archive only the newest member was looked at: several of no known format are told as such
        with open_raw(path, markup=True):
            refuse_unknown(head)


def _is_quotes(start: bytes) -> bool:
    """Whether a file is, or was meant as, a COTAHIST file: record type, then the file's name or a date."""
    return start[:2] in (b"00", b"01", b"99") and (start[2:10] == b"COTAHIST" or start[2:10].isdigit())


def _identity(hashes: Sequence[str], options: Mapping[str, str]) -> str:
    if len(hashes) == 1 and not options:
        return hashes[0]
    return task_key({"files": hashes, "options": dict(options)})
