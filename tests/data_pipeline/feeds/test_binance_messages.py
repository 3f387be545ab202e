"""The compiled scanner against a JSON parser, on messages of every form; what neither can read is refused by line."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto import binance_scan as scan
from data_pipeline.feeds.crypto.binance_messages import MessageReader, _parse
from data_pipeline.feeds.crypto.text import line_blocks

T0 = 1_700_000_000_000
KINDS = {"bookTicker": scan.TICKER, "trade": scan.TRADE, "aggTrade": scan.AGGREGATE, "depthUpdate": scan.DEPTH}

IDS = st.integers(0, 10**15)
TIMES = st.integers(T0, T0 + 10**9)
WHOLE_PART = st.integers(0, 10**9).map(str)
DECIMALS = st.text("0123456789", max_size=8)
AMOUNTS = st.builds(lambda whole, part: f"{whole}.{part}" if part else whole, WHOLE_PART, DECIMALS)
LEVELS = st.lists(st.lists(AMOUNTS, min_size=2, max_size=2), max_size=4)
SYMBOLS = st.sampled_from(["BTCUSDT", "1000PEPEUSDT", "BTCUSD_240628", "币安USDT"])
EXTRA = st.dictionaries(
    st.sampled_from(["nq", "ps", "st", "x"]), st.one_of(IDS, st.none(), st.booleans(), AMOUNTS), max_size=2
)


def message(kind, **fields):
    return st.fixed_dictionaries({"e": st.just(kind), "s": SYMBOLS, "E": TIMES, **fields})


TRADE = {"T": TIMES, "p": AMOUNTS, "q": AMOUNTS, "m": st.booleans()}
MESSAGES = st.one_of(
    message("bookTicker", u=IDS, b=AMOUNTS, B=AMOUNTS, a=AMOUNTS, A=AMOUNTS, T=TIMES),
    st.fixed_dictionaries({"u": IDS, "s": SYMBOLS, "b": AMOUNTS, "B": AMOUNTS, "a": AMOUNTS, "A": AMOUNTS}),
    message("trade", t=IDS, X=st.sampled_from(["MARKET", "ADL", "NA"]), **TRADE),
    message("trade", t=IDS, b=IDS, a=IDS, M=st.just(True), **TRADE),
    message("aggTrade", a=IDS, f=IDS, l=IDS, **TRADE),
    message("depthUpdate", T=TIMES, U=IDS, u=IDS, pu=IDS, b=LEVELS, a=LEVELS),
    message("depthUpdate", U=IDS, u=IDS, b=LEVELS, a=LEVELS),
    st.fixed_dictionaries({"lastUpdateId": IDS, "E": TIMES, "T": TIMES, "bids": LEVELS, "asks": LEVELS}),
    st.fixed_dictionaries({"lastUpdateId": IDS, "bids": LEVELS, "asks": LEVELS}),
    message("markPriceUpdate", p=AMOUNTS, T=TIMES),
)


@st.composite
def lines(draw):
    """A line and what stands in it."""
    data = draw(MESSAGES) | draw(EXTRA)
    keys = draw(st.permutations(list(data)))
    data = {key: data[key] for key in keys}
    wrapped = {"stream": "abc@x", "data": data} if draw(st.booleans()) else data
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (",", ": ")]))
    text = json.dumps(wrapped, separators=separators, ensure_ascii=draw(st.booleans()))
    return f"{draw(TIMES)}{draw(st.integers(0, 999_999)):06d} {text}", data


def expected(data):
    """(kind, whole fields by column, numbers, bids, asks) by the plainest reading of a message."""
    kind = KINDS.get(data["e"], scan.OTHER) if "e" in data else scan.SNAPSHOT if "bids" in data else scan.TICKER
    bids, asks = (
        (("bids", "asks") if kind == scan.SNAPSHOT else ("b", "a")) if kind in (scan.SNAPSHOT, scan.DEPTH) else ("", "")
    )
    whole = {scan.EVENT_TIME: data.get("E", -1), scan.TRADE_TIME: data.get("T", -1)}
    numbers = []
    if kind == scan.TICKER:
        whole[scan.LAST], numbers = data["u"], [data[key] for key in "bBaA"]
    elif kind in (scan.TRADE, scan.AGGREGATE):
        whole[scan.FIRST], numbers = data["t" if kind == scan.TRADE else "a"], [data["p"], data["q"]]
        off = scan.OFF_MARKET if data.get("X", "MARKET") != "MARKET" else 0
        whole[scan.FLAGS] = scan.BUYER_MADE * data["m"] | off | (0 if "M" in data else scan.FUTURES)
    elif kind == scan.DEPTH:
        whole |= {scan.FIRST: data["U"], scan.LAST: data["u"], scan.PREVIOUS: data.get("pu", -1)}
    elif kind == scan.SNAPSHOT:
        whole[scan.LAST] = data["lastUpdateId"]
    return kind, whole, numbers, data.get(bids, []), data.get(asks, [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines(), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_every_message_is_read_as_a_plain_reading_of_its_json(tmp_path, rows, end, ended):
    path = tmp_path / "c.txt"
    path.write_bytes((end.join(line for line, _ in rows) + (end if ended else "")).encode())
    reader = MessageReader()
    batches = list(reader.read(path))
    found = [(batch, row) for batch in batches for row in range(batch.line.size)]
    assert [batch.line[row] for batch, row in found] == list(range(1, len(rows) + 1))
    names = list(reader.symbols)
    for (line, data), (batch, row) in zip(rows, found, strict=True):
        kind, whole, numbers, bids, asks = expected(data)
        assert batch.kind[row] == kind
        assert batch.local_ns[row] == int(line.split(" ")[0])
        if kind == scan.OTHER:
            continue
        assert {column: batch.whole[row, column] for column in whole} == whole
        assert batch.real[row, : len(numbers)].tolist() == [float(text) for text in numbers]
        for wanted, first, size in ((bids, scan.BIDS, scan.BID_LEVELS), (asks, scan.ASKS, scan.ASK_LEVELS)):
            if kind in (scan.DEPTH, scan.SNAPSHOT):
                part = slice(batch.whole[row, first], batch.whole[row, first] + batch.whole[row, size])
                assert batch.price[part].tolist() == [float(price) for price, _ in wanted]
                assert batch.quantity[part].tolist() == [float(quantity) for _, quantity in wanted]
        symbol = data.get("s")
        assert (names[batch.symbol[row]] if batch.symbol[row] >= 0 else None) == symbol
        time = data.get("T", data.get("E", -1))
        assert batch.exchange_ns[row] == (time * 10**6 if time >= 0 else -1)


def test_compact_lines_of_the_venue_need_no_parser(tmp_path, monkeypatch):
    import orjson

    monkeypatch.setattr(orjson, "loads", None)
    rows = [
        '{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":5,"s":"BTCUSDT","b":"9.10","B":"1","a":"9.2","A":"2.000","T":1700000000000,"E":1700000000000}}',
        '{"e":"trade","E":1700000000000,"T":1700000000000,"s":"BTCUSDT","t":5,"p":"9.1","q":"0.006","X":"MARKET","m":false}',
        '{"e":"depthUpdate","E":1700000000001,"T":1700000000000,"s":"BTCUSDT","U":3,"u":5,"pu":2,"b":[["9.1","0.000"]],"a":[]}',
        '{"lastUpdateId":5,"E":1700000000001,"T":1700000000000,"bids":[["9.1","1"]],"asks":[["9.2","1"],["9.3","2"]]}',
    ]
    path = tmp_path / "c.txt"
    path.write_text("".join(f"1700000000000000000 {row}\n" for row in rows))
    (batch,) = MessageReader().read(path)
    assert batch.kind.tolist() == [scan.TICKER, scan.TRADE, scan.DEPTH, scan.SNAPSHOT]


@given(st.integers(0, 10**15 - 1), st.integers(0, 22))
def test_a_decimal_is_the_nearest_double_to_its_text(mantissa, decimals):
    digits = str(mantissa).rjust(decimals + 1, "0")
    text = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
    buffer = np.frombuffer(f'{text}"'.encode(), dtype=np.uint8)
    value, end = scan._decimal(buffer, 0, buffer.size)
    assert end == len(text)
    assert value == float(Fraction(mantissa, 10**decimals))


def test_long_numbers_and_odd_forms_go_through_the_parser(tmp_path):
    good = '{"e":"trade","E":1700000000000,"T":1700000000000,"s":"A","t":5,"p":"%s","q":"1","m":true}'
    for text, value in (("12345678901234567.5", 12345678901234567.5), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0)):
        (tmp_path / "c.txt").write_text(f"1700000000000000000 {good % text}\n")
        (batch,) = MessageReader().read(tmp_path / "c.txt")
        assert batch.real[0, 0] == value


def test_units_of_both_clocks_are_told_by_magnitude(tmp_path):
    line = '{"e":"trade","E":1700000000000%s,"T":1700000000000%s,"s":"A","t":5,"p":"1","q":"1","m":true}'
    for local, exchange in (("", ""), ("000", "000"), ("000000", "")):
        (tmp_path / "c.txt").write_text(f"1700000000000{local} {line % (exchange, exchange)}\n")
        (batch,) = MessageReader().read(tmp_path / "c.txt")
        assert (batch.local_ns[0], batch.exchange_ns[0]) == (T0 * 10**6, T0 * 10**6)


TICKER = '1700000000000000000 {"e":"bookTicker","u":1,"s":"A",'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1700000000000000000", "line 2 is not a time and a whole message"),
        ('1700000000000000000 {"e":"trade"}', "line 2 has no 't'"),
        ('x {"e":"trade"}', "line 2 is not a time"),
        (TICKER + '"b":"1_0","B":"1","a":"2","A":"1"}', "line 2: a bid is no number"),
        (TICKER + '"b":"-1","B":"1","a":"2","A":"1"}', "finite and not negative"),
        (TICKER + '"b":"1e999","B":"1","a":"2","A":"1"}', "finite and not negative"),
        (TICKER.replace("1,", "1.5,") + '"b":"1","B":"1","a":"2","A":"1"}', "line 2 is not"),
        ('1700000000000000000 {"e":"bookTicker","u":1,"s":"","b":"1","B":"1","a":"2","A":"1"}', "the symbol ''"),
        (TICKER.replace("A", "A" * 99) + '"b":"1","B":"1","a":"2","A":"1"}', "symbol of 99"),
        (TICKER + '"b":"1","B":"1","a":"2","A":"1","T":5}', "the time 5, which"),
        ("17 " + TICKER[20:] + '"b":"1","B":"1","a":"2","A":"1"}', "the time 17, which"),
        ("", "line 2 is not a time"),
        ("1700000000000000000 " + "[" * 5000, "line 2 is not a time"),
    ],
)  # fmt: skip
def test_bad_lines_are_refused_by_number(tmp_path, line, words):
    path = tmp_path / "c.txt"
    first = (
        '1700000000000000000 {"e":"trade","E":1700000000000,"T":1700000000000,"s":"A","t":5,"p":"1","q":"1","m":true}'
    )
    path.write_text(f"{first}\n{line}\n{first}\n")
    with pytest.raises(DataError, match=r"c\.txt, ") as error:
        list(MessageReader().read(path))
    assert words in str(error.value)


def test_lines_cross_the_borders_of_blocks_and_endless_ones_are_refused(tmp_path):
    path = tmp_path / "c.txt"
    path.write_bytes(b"".join(b"%d\n" % 7**k for k in range(40)) + b"end")
    whole = path.read_bytes()
    for size in (64, 65, 100, 4096):
        blocks = [(block.text.tobytes(), block.first_line, block.closed) for block in line_blocks(path, size=size)]
        assert b"".join(text for text, _, _ in blocks) == whole + b"\n"
        assert [closed for _, _, closed in blocks][:-1] == [True] * (len(blocks) - 1)
        assert blocks[-1][2] is False
        for number, (text, line, _) in enumerate(blocks):
            before = b"".join(text for text, _, _ in blocks[:number])
            assert line == before.count(b"\n") + 1, text
    with pytest.raises(DataError, match=r"c\.txt, line \d+ has more than 20 bytes"):
        list(line_blocks(path, size=20))
    with pytest.raises(DataError, match="unzips to more than 100 bytes"):
        list(line_blocks(path, most=100))


@pytest.mark.parametrize("gap", ["", " "])
def test_a_field_called_data_is_no_envelope(tmp_path, gap):
    path = tmp_path / "c.txt"
    fields = '"e":"trade","E":1700000000000,"T":1700000000000,"s":"A","t":5,"p":"9.1","q":"1","m":false,"data":17'
    path.write_text(f"1700000000000000000 {{{gap}{fields}}}\n")
    [batch] = MessageReader().read(path)
    assert batch.kind.tolist() == [scan.TRADE]
    path.write_text('1700000000000000000 {"stream":"a@trade","data":17}\n')
    with pytest.raises(DataError, match="line 1 is not a time and a whole message"):
        list(MessageReader().read(path))


TOKENS = (
    b'"e":"trade",',
    b'"data":{},',
    b'"stream":"x",',
    b'"lastUpdateId":3,',
    b'"bids":[],',
    b'"b":"1",',
    b'"a":5,',
    b"1e5",
)
MORE = (
    b'"T":null,',
    b'"pu":1,',
    b'"M":null,',
    b'"X":"ADL",',
    b'"":1,',
    b"999999999999999999",
    b"0.1234567890123456",
    b"\\u0041",
)


@st.composite
def broken_lines(draw):
    """A compact line with some of its bytes replaced or other ones put in."""
    line, data = draw(lines())
    text = line.split(" ")[0].encode() + b" " + json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    for _ in range(draw(st.integers(1, 3))):
        places = [k + 1 for k, byte in enumerate(text) if byte in b',{[:"']
        at = draw(st.sampled_from(places))
        end = at + draw(st.sampled_from((0, 0, 1, 5)))
        text = text[:at] + draw(st.one_of(st.sampled_from(TOKENS + MORE), st.binary(max_size=3))) + text[end:]
    return text.replace(b"\n", b"")


@settings(max_examples=300)
@given(broken_lines())
def test_what_the_scanner_takes_of_a_broken_line_the_parser_reads_alike(text):
    buffer = np.frombuffer(text + b"\n", dtype=np.uint8)
    whole, real = np.empty((1, scan.WHOLE_COLUMNS), dtype=np.int64), np.full((1, 4), np.nan)
    levels = np.empty((2, buffer.size // 10 + 1))
    slot = np.zeros((128, 3), dtype=np.int64)
    scan.scan_lines(buffer, 0, buffer.size, slot, whole, real, levels[0], levels[1])
    row, parsed, numbers, more = whole[0], np.empty(scan.WHOLE_COLUMNS, dtype=np.int64), np.full(4, np.nan), []
    if row[scan.KIND] == scan.UNREAD:
        return
    symbol = _parse(text, "x", parsed, numbers, more, 0)
    columns = [scan.KIND, scan.LOCAL]
    if row[scan.KIND] != scan.OTHER:
        columns += [scan.EVENT_TIME, scan.TRADE_TIME, scan.FIRST, scan.LAST, scan.PREVIOUS, scan.FLAGS]
        at = row[scan.SYMBOL]
        assert (None if at < 0 else text[at : at + row[scan.SYMBOL_SIZE]].decode()) == symbol
        np.testing.assert_array_equal(real[0], numbers)
        for first, size in ((scan.BIDS, scan.BID_LEVELS), (scan.ASKS, scan.ASK_LEVELS)):
            own, theirs = (slice(k[first], k[first] + k[size]) for k in (row, parsed))
            assert list(zip(*levels[:, own].tolist(), strict=True)) == more[theirs]
    assert row[columns].tolist() == parsed[columns].tolist()
