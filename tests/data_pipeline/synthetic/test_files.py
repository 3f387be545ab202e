"""The written files, byte by byte, against B3's layout."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
import zipfile
import zlib
from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.synthetic import ExchangeConfig, write_exchange
from data_pipeline.synthetic.books import simulate_books
from data_pipeline.synthetic.kernels import put_digits
from data_pipeline.synthetic.writer import blank_records, encode_records, write_archive

NUMERIC = re.compile(rb"\d+")


def luhn_valid(isin: str) -> bool:
    digits = "".join(str(int(letter, 36)) for letter in isin)
    doubled = [int(d) if i % 2 == 0 else sum(divmod(2 * int(d), 10)) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def test_every_line_has_245_bytes_and_crlf(texts):
    for text in texts.values():
        assert len(text) % 247 == 0
        block = np.frombuffer(text, np.uint8).reshape(-1, 247)
        assert (block[:, 245] == 13).all()
        assert (block[:, 246] == 10).all()
        assert ((block[:, :245] >= 32) & (block[:, :245] < 127)).all()


def test_header_and_trailer_count_all_records(texts, exchange):
    for name, text in texts.items():
        year = name[10:14]
        lines = text.split(b"\r\n")[:-1]
        header, trailer = lines[0].decode(), lines[-1].decode()
        assert header[:23] == f"00COTAHIST.{year}BOVESPA "
        assert trailer[:31] == "99" + header[2:31]
        assert header[23:31].startswith(year)
        assert header[31:].strip() == ""
        assert int(trailer[31:42]) == len(lines) == exchange.records[name] + 2
        assert trailer[42:].strip() == ""
        assert {line[:2] for line in lines[1:-1]} == {b"01"}


def test_numeric_fields_are_digits_only(texts):
    numeric = [(3, 10), (25, 27), (57, 202), (203, 230), (243, 245)]
    for text in texts.values():
        for line in text.split(b"\r\n")[1:-2]:
            for first, last in numeric:
                assert NUMERIC.fullmatch(line[first - 1 : last])


def test_dates_are_the_sessions_of_b3_and_of_the_file_s_year(quotes, config, texts):
    sessions = b3_sessions(str(config.first_session), str(config.last_session))
    numbers = {int(str(day).replace("-", "")) for day in sessions}
    assert set(quotes.date.tolist()) == numbers
    for name, text in texts.items():
        years = {line[2:6].decode() for line in text.split(b"\r\n")[1:-2]}
        assert years == {name[10:14]}


def test_dates_restart_for_the_derivatives(texts):
    for text in texts.values():
        dates = [int(line[2:10]) for line in text.split(b"\r\n")[1:-2]]
        assert dates != sorted(dates)


def test_keys_are_unique(quotes):
    keys = list(zip(quotes.date, quotes.ticker, quotes.market, quotes.term, strict=True))
    assert len(set(keys)) == len(keys)


def test_prices_are_ordered_and_positive(quotes):
    assert (quotes.low >= 1).all()
    for name in ("open", "close", "average"):
        assert (quotes.low <= getattr(quotes, name)).all()
        assert (getattr(quotes, name) <= quotes.high).all()
    both = (quotes.bid > 0) & (quotes.ask > 0)
    assert (quotes.bid[both] < quotes.ask[both]).all()


def test_average_price_is_truncated_and_value_lies_between_the_extremes(quotes):
    assert (quotes.average == quotes.value * quotes.factor // quotes.quantity).all()
    assert (quotes.low * quotes.quantity <= quotes.value * quotes.factor).all()
    assert (quotes.value * quotes.factor <= quotes.high * quotes.quantity).all()


def test_a_single_trade_has_a_single_price(quotes):
    single = (quotes.trades == 1) & (quotes.value < 10**9)
    assert single.sum() > 50
    assert (quotes.high[single] == quotes.low[single]).all()


def test_quantities_are_whole_lots(spot, truth):
    for paper in truth["papers"]:
        mine = spot.ticker == paper["ticker"].ljust(12).encode()
        assert np.gcd.reduce(spot.quantity[mine]) % paper["lot_size"] == 0
        assert (spot.factor[mine] == paper["quotation_factor"]).all()
    assert {paper["quotation_factor"] for paper in truth["papers"]} == {1, 1000}


def test_every_market_is_there_with_its_ticker_grammar(quotes):
    grammar = {
        10: (rb"[QWZ][A-Z]{3}(3|4|5|11) *", {b"02", b"08", b"14"}),
        12: (rb"[QWZ][A-Z]{3}[A-L]\d{4}E *", {b"38"}),
        13: (rb"[QWZ][A-Z]{3}[M-X]\d{4}E *", {b"42"}),
        17: (rb"[QWZ][A-Z]{3}(3|4|5|11)L *", {b"46"}),
        20: (rb"[QWZ][A-Z]{3}(3|4|5|11)F *", {b"96"}),
        30: (rb"[QWZ][A-Z]{3}(3|4|5|11)T *", {b"62"}),
        70: (rb"[QWZ][A-Z]{3}[A-L]\d{4} *", {b"78"}),
        80: (rb"[QWZ][A-Z]{3}[M-X]\d{4} *", {b"82"}),
    }
    assert set(quotes.market.tolist()) == set(grammar)
    for market, (pattern, tables) in grammar.items():
        mine = quotes.market == market
        assert all(re.fullmatch(pattern, ticker) for ticker in set(quotes.ticker[mine].tolist()))
        assert set(quotes.bdi[mine].tolist()) == tables


def test_terms_and_expiries_follow_the_market(quotes):
    spot = np.isin(quotes.market, (10, 17, 20))
    assert set(quotes.term[spot].tolist()) == {b"   "}
    assert set(quotes.term[quotes.market == 30].tolist()) == {b"016", b"030", b"060", b"090"}
    options = np.isin(quotes.market, (12, 13, 70, 80))
    assert set(quotes.term[options].tolist()) == {b"000"}
    assert (quotes.expiry[~options] == 99991231).all()
    assert (quotes.expiry[options] >= quotes.date[options]).all()
    assert (quotes.strike[options] > 0).all()
    assert (quotes.strike[~options] == 0).all()
    assert set(quotes.currency.tolist()) == {b"R$  "}


def test_option_month_letter_is_that_of_the_expiry(quotes):
    for market, letters in ((70, b"ABCDEFGHIJKL"), (80, b"MNOPQRSTUVWX")):
        mine = quotes.market == market
        months = quotes.expiry[mine] // 100 % 100
        assert all(letters[month - 1] == ticker[4] for month, ticker in zip(months, quotes.ticker[mine], strict=True))


def test_options_carry_the_isin_of_the_underlying(quotes, spot):
    pairs = set(zip(spot.ticker.tolist(), spot.isin.tolist(), strict=True))
    options = quotes.market == 70
    for ticker, isin in set(zip(quotes.ticker[options].tolist(), quotes.isin[options].tolist(), strict=True)):
        assert any(name[:4] == ticker[:4] and name[4:5] == ticker[8:9] and code == isin for name, code in pairs)


def test_isin_check_digits_hold(quotes):
    assert luhn_valid("US0378331005")
    assert not luhn_valid("US0378331006")
    codes = {code.decode() for code in set(quotes.isin.tolist())}
    assert all(luhn_valid(code) for code in codes)
    assert {code[6:9] for code in codes} == {"ACN", "CDA", "CTF"}


def test_archives_hold_one_member_with_a_fixed_time(exchange):
    for name in exchange.records:
        with zipfile.ZipFile(exchange.raw / name) as archive:
            (info,) = archive.infolist()
            assert info.filename == name.replace(".ZIP", ".TXT")
            assert info.date_time == (2000, 1, 1, 0, 0, 0)


def test_same_settings_give_the_same_bytes(exchange, config, tmp_path):
    again = write_exchange(tmp_path / "again", **dataclasses.asdict(config))
    assert again.files == exchange.files
    assert again.records == exchange.records
    for name in exchange.files:
        assert (again.folder / name).read_bytes() == (exchange.folder / name).read_bytes()


def test_another_seed_gives_other_prices(exchange, config, tmp_path):
    other = write_exchange(tmp_path / "other", dataclasses.replace(config, seed=config.seed + 1))
    changed = [name for name in exchange.files if name.endswith(".ZIP") and other.files[name] != exchange.files[name]]
    assert changed == [name for name in exchange.files if name.endswith(".ZIP")]


def test_writing_the_same_exchange_again_touches_nothing(config, tmp_path):
    first = write_exchange(tmp_path / "exchange", config)
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    assert write_exchange(tmp_path / "exchange", config) == first
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")} == before


def test_a_damaged_exchange_is_written_again(exchange, config, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(exchange.folder, folder)
    victim = next(folder.joinpath("raw").glob("*.ZIP"))
    victim.write_bytes(victim.read_bytes()[:-100])
    assert write_exchange(folder, config).files == exchange.files
    assert victim.read_bytes() == (exchange.raw / victim.name).read_bytes()


@pytest.mark.parametrize("moved", [(), ("raw",), ("raw", "truth")])
def test_an_interrupted_write_is_taken_up_again(exchange, config, tmp_path, moved):
    folder = tmp_path / "killed"
    shutil.copytree(exchange.folder, folder / "draft", ignore=shutil.ignore_patterns("exchange.json"))
    for part in moved:
        (folder / "draft" / part).rename(folder / part)
    assert write_exchange(folder, config).files == exchange.files
    assert sorted(path.name for path in folder.iterdir()) == ["exchange.json", "raw", "truth"]


def test_another_exchange_or_foreign_files_are_left_alone(exchange, config, tmp_path):
    with pytest.raises(ValueError, match="holds one of other settings"):
        write_exchange(exchange.folder, dataclasses.replace(config, seed=99))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        write_exchange(tmp_path, config)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"seed": -1}, ValueError, "seed must lie between 0"),
        ({"seed": 1.5}, TypeError, "seed must be an integer; was 1.5"),
        ({"first_session": "2020-01-01"}, TypeError, "first_session must be a datetime.date"),
        ({"first_session": datetime(2020, 1, 1)}, TypeError, "first_session must be a datetime.date"),
        ({"last_session": date(2020, 1, 1)}, ValueError, "last_session must be after first_session"),
        ({"last_session": date(2200, 1, 1)}, ValueError, "last_session must lie between"),
        ({"instruments": 5}, ValueError, "instruments must lie between 24 and 400; was 5"),
        ({"tail_degrees": 5}, ValueError, "tail_degrees must be even; was 5"),
        ({"impact_memory": 1.0}, ValueError, "impact_memory must lie between 0.0 and 0.99"),
        ({"market_volatility": float("nan")}, ValueError, "market_volatility must lie between"),
        ({"equity_premium": "5 %"}, TypeError, "equity_premium must be a number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config, change, error, words):
    with pytest.raises(error, match=words):
        dataclasses.replace(config, **change)


def test_too_short_a_span_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 120 sessions; was 19"):
        write_exchange(tmp_path / "x", seed=1, first_session=date(2021, 1, 4), last_session=date(2021, 1, 31))
    assert not (tmp_path / "x" / "exchange.json").exists()


def test_config_is_given_once(config, tmp_path):
    with pytest.raises(ValueError, match="config must be given either"):
        write_exchange(tmp_path / "x", config, seed=1)
    with pytest.raises(ValueError, match="config must be given either"):
        write_exchange(tmp_path / "x")


def test_a_number_too_wide_for_its_field_is_refused():
    records = blank_records(1)
    records["session"] = np.datetime64("2021-01-04")
    records["distribution"] = 1000
    with pytest.raises(ValueError, match="distribution must fit 3 digits; was 1000 to 1000"):
        encode_records(records)


@given(values=st.lists(st.integers(0, 10**13 - 1), max_size=8))
def test_digits_are_those_of_python(values):
    lines = np.full((len(values), 20), ord(" "), np.uint8)
    assert put_digits(np.array(values, np.int64), 4, 13, lines)
    assert [bytes(line) for line in lines] == [f"    {value:013d}   ".encode() for value in values]


@pytest.mark.parametrize(("value", "fits"), [(-1, False), (0, True), (999, True), (1000, False), (2**63 - 1, False)])
def test_digits_never_leave_their_field(value, fits):
    lines = np.full((2, 5), ord("."), np.uint8)
    assert put_digits(np.array([7, value], np.int64), 1, 3, lines) == fits
    assert put_digits.py_func(np.array([7, value], np.int64), 1, 3, lines) == fits
    assert (lines[:, [0, 4]] == ord(".")).all()


@pytest.mark.parametrize("level", [1, 4, 9])
def test_an_archive_in_pieces_is_that_of_the_whole_and_as_small_as_zlib_makes_it(tmp_path, level):
    pieces = [bytes([letter]) * (10_000 + letter) for letter in range(90)]
    write_archive(tmp_path / "a.zip", "a.txt", pieces, level)
    write_archive(tmp_path / "b.zip", "a.txt", [b"".join(pieces)], level)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        (info,) = archive.infolist()
        assert archive.read(info) == b"".join(pieces)
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    assert info.compress_size == len(compressor.compress(b"".join(pieces)) + compressor.flush())


def test_records_do_not_depend_on_the_span_they_are_asked_with(config):
    sessions = b3_sessions(str(config.first_session), str(config.last_session))
    books = simulate_books(dataclasses.replace(config, option_underlyings=9), sessions, np.zeros(len(sessions)))
    assert len(books.underlyings) == 9
    borders = np.array(["2020-01-01", "2020-11-17", "2021-02-02", "2021-02-03", "2023-01-01"], "M8[D]")
    for part in (books.cash_part, books.derivative_part):
        whole = part(borders[0], borders[-1])
        pieces = [part(*pair) for pair in itertools.pairwise(borders)]
        assert sum(len(piece) for piece in pieces) == len(whole) > 10_000
        for piece, (start, end) in zip(pieces, itertools.pairwise(borders), strict=True):
            inside = (whole["session"] >= start) & (whole["session"] < end)
            assert sorted(piece.tolist(), key=str) == sorted(whole[inside].tolist(), key=str)


def test_records_are_in_the_order_of_their_tickers_as_text(config):
    sessions = b3_sessions(str(config.first_session), str(config.last_session))
    books = simulate_books(config, sessions, np.zeros(len(sessions)))
    cash = books.cash_part(np.datetime64("2020-01-01"), np.datetime64("2023-01-01"))
    keys = [(one["session"], one["bdi_code"], one["ticker"]) for one in cash]
    assert keys == sorted(keys)


def test_config_survives_json(config):
    stored = dict(config.as_json())
    for name in ("first_session", "last_session"):
        stored[name] = date.fromisoformat(stored[name])
    assert ExchangeConfig(**stored) == config
