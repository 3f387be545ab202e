"""A policy library on disk: opened in a moment, proven on request, looked up in nanoseconds.

A library is one folder, named by the SHA-256 of its `library.json`; that file holds the SHA-256 of the two arrays
beside it, so the name fixes every byte:

    <hash>/library.json       regimes, axes, time nodes, tolerances, worst figures, code and library versions
    <hash>/quotes.npy         (policies, nx, nt, 2) half-spreads, bid and ask; mapped, not read
    <hash>/certificates.npy   (policies, columns) float64: what each solve returned; mapped, not read

`build_policy_library` (strategies.policy_library_build) makes one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np

from data_pipeline.errors import DataError
from mfg_core.library.quote_block import LibraryArrays, PreparedQuotes, QuoteBlock, TimeNodes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

SCHEMA_VERSION = 1
KIND = "market_making_policy_library"
DESCRIPTION, QUOTES, CERTIFICATES = "library.json", "quotes.npy", "certificates.npy"
COLUMNS = (
    "horizon",
    "min_half_spread",
    "max_half_spread",
    "iterations",
    "residual",
    "residual_tolerance",
    "exploitability",
    "mass_error",
    "discretisation_error",
    "edge_mass",
    "time_error",
)
"""Columns of the certificates: the limits that the look-up needs, `Certificate`, the largest edge mass, and the largest
error of the time grid and its rounding (price units)."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyLibrary:
    """An open library.

    Attributes
    ----------
    path : Path
        Its folder.
    description : mapping
        The content of `library.json`.
    block : QuoteBlock
        The policies, mapped from the disk, with the look-ups.
    certificates : mapping of str to (policies,) float64
        By column name.
    """

    path: Path
    description: Mapping[str, Any]
    block: QuoteBlock
    certificates: Mapping[str, Floats]

    @property
    def hash(self) -> str:
        """SHA-256 that names the library."""
        return self.path.name

    @property
    def size(self) -> int:
        """Number of policies."""
        return int(self.block.block.shape[0])

    def prepare(self, regime: str | None = None, **parameters: float) -> PreparedQuotes:
        """The policy at these parameters, for `lookup_quotes`; ValueError outside the grid."""
        return self.block.prepare(regime, **parameters)

    def quotes(
        self, t: ArrayLike, inventory: ArrayLike, regime: str | None = None, **parameters: ArrayLike
    ) -> tuple[Floats, Floats]:
        """(bid, ask) half-spreads, broadcast; ValueError outside the grid, nan where a side is not quoted."""
        return self.block.quotes(t, inventory, regime, **parameters)

    def arrays(self) -> LibraryArrays:
        """The bundle for the compiled look-ups between policies."""
        return self.block.arrays()

    def verify(self) -> None:
        """Read every byte again; DataError where one has changed."""
        for name, entry in self.description["files"].items():
            with (self.path / name).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != entry["sha256"]:
                raise DataError(
                    f"{self.path / name}: damaged (sha256 {found[:12]}, expected {entry['sha256'][:12]}); "
                    "delete the library's folder and build it again"
                )


def open_policy_library(path: str | Path) -> PolicyLibrary:
    """The library in the folder `path` (its name is its hash), arrays mapped read-only.

    Checks the description against the hash, and each array's size and header; `verify` reads all bytes. Milliseconds,
    whatever the number of policies.

    Raises
    ------
    DataError
        When something is missing, damaged or of another version; naming it and what to do.
    """
    folder = Path(path)
    description = _read_description(folder)
    columns = _map(folder, CERTIFICATES, description)
    limits = [COLUMNS.index(name) for name in ("horizon", "min_half_spread", "max_half_spread")]
    block = QuoteBlock(
        regimes=tuple(description["regimes"]),
        axes={axis["name"]: _frozen(np.array(axis["values"], dtype=np.float64)) for axis in description["axes"]},
        nodes=TimeNodes(**description["time_nodes"]),
        block=_map(folder, QUOTES, description),
        limits=_frozen(np.ascontiguousarray(columns[:, limits])),
    )
    return PolicyLibrary(folder, description, block, {name: columns[:, i] for i, name in enumerate(COLUMNS)})


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{folder}: no policy library here ({DESCRIPTION} is missing); build it first") from None
    found = hashlib.sha256(text).hexdigest()
    try:
        description = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}); delete the folder and build the library again") from None
    if not isinstance(description, dict) or description.get("kind") != KIND:
        raise DataError(f"{path}: not the description of a policy library")
    version = description.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema_version must be {SCHEMA_VERSION}; was {version!r}: build the library again with this "
            "version, or read it with the version that wrote it"
        )
    if found != folder.resolve().name:
        raise DataError(
            f"{path}: damaged, or the folder was renamed (sha256 {found[:12]}, expected {folder.resolve().name[:12]}); "
            "delete the folder and build the library again"
        )
    return description


def _map(folder: Path, name: str, description: Mapping[str, Any]) -> NDArray[Any]:
    """The array, mapped, as a plain read-only array; its size, type and shape are those of the description."""
    path, entry = folder / name, description["files"][name]
    advice = "delete the folder and build the library again"
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"{path}: missing; {advice}") from None
    if size != entry["bytes"]:
        raise DataError(f"{path}: damaged ({size} bytes, expected {entry['bytes']}); {advice}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, SyntaxError, TokenError) as error:  # what numpy says of headers that it cannot read
        raise DataError(f"{path}: damaged ({error}); {advice}") from None
    if array.dtype.str != entry["dtype"] or list(array.shape) != entry["shape"] or not array.flags.c_contiguous:
        raise DataError(
            f"{path}: damaged (header {array.dtype.str} {array.shape}, expected {entry['dtype']} {entry['shape']}); "
            f"{advice}"
        )
    return np.asarray(array)


def _frozen(array: Floats) -> Floats:
    array.setflags(write=False)
    return array
