"""Damaged intraday files: every reader answers with a record or a DataError that names the file, and soon."""

from __future__ import annotations

import gzip
import time
import warnings
import zipfile

import numpy as np
import pytest

from data_pipeline.book.record import IntradayRecord
from data_pipeline.errors import DataError
from data_pipeline.feeds.b3.orders import read_b3_orders
from data_pipeline.feeds.crypto.binance_capture import read_binance_capture
from data_pipeline.feeds.lobster.record import read_lobster
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture, write_lobster, write_ofer

TRUTH = BookConfig(seed=2, seconds=20.0, levels=50)
SOON = 5.0
"""Seconds; a damaged file of a few hundred rows takes hundredths."""

NUMBERS = (
    b"-1",
    b"0",
    b"nan",
    b"inf",
    b"-inf",
    b"1e400",
    b"9" * 40,
    b"0x10",
    b"1_000",
    b"",
    b" ",
    b'"',
    b"1,5",
    b"\xff",
)


def sources(folder):
    """{reader: (path that is damaged, how it is read)}; each reader's files in a folder of its own."""
    events = simulate_book(TRUTH)
    for name in ("lobster", "binance", "b3"):
        (folder / name).mkdir()
    message, book = write_lobster(folder / "lobster", events, levels=2)
    capture = write_capture(folder / "binance" / "c.gz", events)
    plain = capture.with_suffix(".txt")
    plain.write_bytes(gzip.decompress(capture.read_bytes()))
    ofer = folder / "b3" / "ofer.csv"
    write_ofer(ofer, events)
    return {
        "message": (message, lambda: read_lobster(message, book)),
        "orderbook": (book, lambda: read_lobster(message, book)),
        "capture": (plain, lambda: read_binance_capture(plain)),
        "depth": (plain, lambda: read_binance_capture(plain, quotes="depth")),
        "gzip": (capture, lambda: read_binance_capture(capture)),
        "ofer": (ofer, lambda: read_b3_orders(ofer, "SYNT3F")),
    }


def answered(path, read, what):
    """The record, or None for a DataError that names the file; anything else fails."""
    started, refusal = time.process_time(), ""
    record = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            record = read()
    except DataError as error:
        refusal = str(error)
    if record is None:
        assert any(known.name in refusal for known in (path, *path.parent.iterdir())), f"{what}: {refusal}"
    assert time.process_time() - started < SOON, what
    if record is not None:
        sane(record, what)
    return record


def sane(record: IntradayRecord, what):
    quotes, trades = record.quotes, record.trades
    assert (np.diff(quotes.times) >= 0).all(), what
    assert (np.diff(trades.times) >= 0).all(), what
    for column in (trades.times, trades.price, trades.size, quotes.times):
        assert np.isfinite(column).all(), what
    assert (trades.price > 0).all(), what
    assert (trades.size > 0).all(), what
    both = np.isfinite(quotes.bid) & np.isfinite(quotes.ask)
    assert (quotes.bid[both] < quotes.ask[both]).all(), what


@pytest.mark.parametrize("name", ["message", "orderbook", "capture", "depth", "gzip", "ofer"])
def test_damage_is_a_data_error_or_a_sane_record(tmp_path, name):
    path, read = sources(tmp_path)[name]
    good = path.read_bytes()
    rng = np.random.default_rng(len(name))
    assert answered(path, read, "whole") is not None
    for at in rng.integers(0, len(good), 40):  # cut anywhere
        path.write_bytes(good[:at])
        answered(path, read, f"cut at {at}")
    for _ in range(60):  # a few flipped bits
        damaged = bytearray(good)
        for at in rng.integers(0, len(good), int(rng.integers(1, 4))):
            damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        answered(path, read, "flipped bits")
    if name == "gzip":
        return
    lines = good.split(b"\n")
    split = b"," if name in ("message", "orderbook", "ofer") else b'"'
    for number in NUMBERS:  # another value in one field
        for _ in range(6):
            row = int(rng.integers(len(lines) - 1))
            cells = lines[row].split(split)
            cells[int(rng.integers(len(cells)))] = number
            path.write_bytes(b"\n".join([*lines[:row], split.join(cells), *lines[row + 1 :]]))
            answered(path, read, f"{number!r} in line {row + 1}")
    for what, content in {
        "one line": lines[0] + b"\n",
        "nothing": b"",
        "blank lines": b"\n\n\n",
        "UTF-16": good.decode("ascii").encode("utf-16"),
        "UTF-16 without a mark": good.decode("ascii").encode("utf-16-le"),
        "zeros": b"\0" * 5000,
        "noise": rng.bytes(5000),
        "one endless line": lines[0] * 200,
        "lines backwards": b"\n".join(lines[:1] + lines[-2:0:-1]),
        "tabs": good.replace(b",", b"\t"),
        "semicolons": good.replace(b",", b";"),
    }.items():
        path.write_bytes(content)
        answered(path, read, what)
    path.write_bytes(good.replace(b"\n", b"\r\n"))
    assert answered(path, read, "CRLF") is not None


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    """Limits are lowered, so that the test needs no gigabytes."""
    import data_pipeline.book.record as intraday
    import data_pipeline.feeds.crypto.binance_capture as capture

    monkeypatch.setattr(capture, "_MOST_BYTES", 1 << 20)
    monkeypatch.setattr(intraday, "MOST_BYTES", 1 << 20)
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(b"0" * (3 << 20)))
    with pytest.raises(DataError, match=r"bomb\.gz unzips to more"):
        read_binance_capture(bomb)
    packed = tmp_path / "m.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m.csv", b"0" * (3 << 20))
    with pytest.raises(DataError, match=r"m\.zip has 3,145,728 bytes"):
        read_lobster(packed, packed)
