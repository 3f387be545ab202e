"""A feed run on bytes: its batches checked against the tables they claim to fill, or its one error."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Tally
from data_pipeline.raw_file import read_head
from data_pipeline.tables.catalog import TABLES


def check_rows(name: str, rows: pa.Table) -> None:
    """Everything that a table's specification says of its rows."""
    spec = TABLES[name]
    assert rows.schema.equals(spec.schema), name
    rows.validate(full=True)
    for column in spec.columns:
        values = rows[column.name]
        assert column.nullable or values.null_count == 0, column.name
        if pa.types.is_floating(column.type) and column.finite:
            assert np.isfinite(values.drop_null().to_numpy()).all(), column.name
        if column.low is not None and len(values.drop_null()):
            assert pc.min(values).as_py() >= column.low, column.name
        if column.high is not None and len(values.drop_null()):
            assert pc.max(values).as_py() <= column.high, column.name
        if column.words:
            assert set(values.drop_null().to_pylist()) <= set(column.words), column.name
        if pa.types.is_string(column.type):
            assert "" not in values.to_pylist(), column.name
    if spec.key:
        keys = list(zip(*(rows[key].to_pylist() for key in spec.key), strict=True))
        assert len(set(keys)) == len(keys), spec.key


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes with a few bits flipped, spans cut out, doubled or made of other bytes, or another encoding."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        end = min(at + draw(st.integers(1, 60)), len(content))
        kind = draw(st.sampled_from(("flip", "cut", "drop", "double", "put", "digits", "utf-16")))
        if kind == "flip" and content:
            content = content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "drop":
            content = content[:at] + content[end:]
        elif kind == "double":
            content = content[:end] + content[at:]
        elif kind == "put":
            content = content[:at] + draw(st.binary(max_size=12)) + content[at:]
        elif kind == "digits":
            content = (
                content[:at]
                + draw(st.sampled_from((b"9" * 40, b"-1", b"nan", b"1e400", b";", b"\n", b"0")))
                + content[end:]
            )
        else:
            content = content.decode("latin-1").encode("utf-16")
    return content


@pytest.fixture(scope="session")
def feed_run(tmp_path_factory):
    """`read(feed, {name: bytes}, **options)` -> (tables, tally); `survives(feed, name, bytes)` -> tables or None."""
    numbers = itertools.count()
    root = tmp_path_factory.mktemp("raw")

    def read(feed, files, **options):
        folder = root / str(next(numbers))
        folder.mkdir()
        paths = []
        for name, content in files.items():
            paths.append(folder / name)
            paths[-1].write_bytes(content)
        return drain(feed, paths, **options)

    def drain(feed, paths, **options):
        tally = Tally()
        tables: dict[str, list[pa.Table]] = {}
        venues: dict[tuple[str, str], list[pa.Table]] = {}
        for batch in feed.read(tuple(paths), tally, options):
            check_rows(batch.table, batch.rows)
            assert batch.venue.replace("_", "").isalnum()
            assert batch.venue == batch.venue.upper()
            tables.setdefault(batch.table, []).append(batch.rows)
            venues.setdefault((batch.table, batch.venue), []).append(batch.rows)
        for (name, _), parts in venues.items():
            check_rows(name, pa.concat_tables(parts))
        return {name: pa.concat_tables(parts) for name, parts in tables.items()}, tally

    def survives(feed, name, content, **options):
        folder = root / "damaged"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_bytes(content)
        told = ""
        try:
            feed.recognises(read_head(path))
            return drain(feed, [path], **options)[0]
        except DataError as error:
            told = str(error)
        assert len(told) > 20
        assert name.split(".")[0] in told
        return None

    return SimpleNamespace(read=read, drain=drain, survives=survives, damage=damage)
