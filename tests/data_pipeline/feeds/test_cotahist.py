from __future__ import annotations

import datetime
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.cotahist import kernels
from data_pipeline.feeds.cotahist.parser import RULES, iter_blocks, parse_records, read_cotahist, read_header
from data_pipeline.schema import LAYOUT, QUOTE_SCHEMA, REASONS

# Columns of the store and the layout's fields they hold, typed in from docs/contracts.md
FIELDS = {
    "session": "DATA",
    "bdi_code": "CODBDI",
    "ticker": "CODNEG",
    "market_type": "TPMERC",
    "short_name": "NOMRES",
    "specification": "ESPECI",
    "forward_days": "PRAZOT",
    "currency": "MODREF",
    "open_cents": "PREABE",
    "high_cents": "PREMAX",
    "low_cents": "PREMIN",
    "average_cents": "PREMED",
    "close_cents": "PREULT",
    "bid_cents": "PREOFC",
    "ask_cents": "PREOFV",
    "trade_count_mod": "TOTNEG",
    "quantity": "QUATOT",
    "traded_value_cents": "VOLTOT",
    "strike_cents": "PREEXE",
    "indexation": "INDOPC",
    "expiry": "DATVEN",
    "quotation_factor": "FATCOT",
    "strike_points_e6": "PTOEXE",
    "isin": "CODISI",
    "distribution": "DISMES",
}
WORDS = {"CODBDI", "CODNEG", "NOMRES", "ESPECI", "MODREF", "CODISI"}
DATES = {"DATA", "DATVEN"}
NUMBERS = [name for name in FIELDS.values() if name not in WORDS | DATES | {"PRAZOT"}]


def slow_row(line, columns):
    """The row of one record by plain slicing, the second way."""
    row = {}
    for column, name in FIELDS.items():
        first, last = columns[name]
        field = line[first - 1 : last].decode("latin-1")
        if name in WORDS:
            row[column] = field.rstrip(" ")
        elif name in DATES:
            day = datetime.date(int(field[:4]), int(field[4:6]), int(field[6:]))
            row[column] = None if field == "99991231" else day
        elif name == "PRAZOT":
            row[column] = int(field) if field.strip() else None
        else:
            row[column] = int(field)
    for column in ("bid_cents", "ask_cents"):
        row[column] = row[column] or None
    return row


def write(path, content):
    path.write_bytes(content)
    return path


def test_layout_covers_the_record_without_gap_and_names_the_official_columns(raw):
    assert [(f.start + 1, f.stop) for f in LAYOUT] == list(raw.columns.values())
    assert [f.name for f in LAYOUT] == list(raw.columns)


def test_every_field_lands_in_its_column(raw):
    values = {
        "DATA": 20240229,
        "CODBDI": "78",
        "CODNEG": "ABCDL123W5",
        "TPMERC": 70,
        "NOMRES": "ABCDE FM/EDJ",
        "ESPECI": "PNA EDJ N1",
        "PRAZOT": "045",
        "MODREF": "CZ$",
        "PREABE": 1234567890123,
        "PREMAX": 2234567890123,
        "PREMIN": 1134567890123,
        "PREMED": 1334567890123,
        "PREULT": 1434567890123,
        "PREOFC": 1534567890123,
        "PREOFV": 1634567890123,
        "TOTNEG": 99999,
        "QUATOT": 999999999999999999,
        "VOLTOT": 123456789012345678,
        "PREEXE": 4321,
        "INDOPC": 6,
        "DATVEN": 20241218,
        "FATCOT": 1000,
        "PTOEXE": 119000000000,
        "CODISI": "BRABCDACNPA3",
        "DISMES": 345,
    }
    line = raw.record(**values)
    table = parse_records(line + b"\r\n")
    assert table.schema == QUOTE_SCHEMA
    assert table.to_pylist() == [slow_row(line, raw.columns)]
    assert table["quantity"].to_pylist() == [999999999999999999]
    assert table["strike_points_e6"].to_pylist() == [119_000 * 10**6]
    assert table["session"].to_pylist() == [datetime.date(2024, 2, 29)]


LATIN = st.text(st.characters(codec="latin-1", exclude_categories=("Cc",)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_printable_record_reads_as_plain_slicing_does(raw, data):
    records = []
    for _ in range(data.draw(st.integers(1, 4))):
        widths = {name: last - first + 1 for name, (first, last) in raw.columns.items()}
        values = {name: data.draw(st.integers(0, 10 ** widths[name] - 1)) for name in NUMBERS}
        values["DATA"] = (
            data.draw(st.dates(datetime.date(1986, 1, 1), datetime.date(2199, 12, 31))).strftime("%Y%m%d").zfill(8)
        )
        values["DATVEN"] = data.draw(st.dates(datetime.date(1986, 1, 1))).strftime("%Y%m%d").zfill(8)
        values["NOMRES"] = data.draw(LATIN)
        values["CODNEG"] = data.draw(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12))
        records.append(raw.record(**values))
    table = parse_records(b"".join(line + b"\r\n" for line in records))
    table.validate(full=True)
    assert table.to_pylist() == [slow_row(line, raw.columns) for line in records]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b""], ids=["crlf", "lf", "none"])
@pytest.mark.parametrize("last_ends", [True, False])
def test_line_ends_do_not_change_the_table(raw, tmp_path, end, last_ends):
    records = [raw.record(CODNEG=f"AAAA{i}") for i in range(5)]
    content = raw.text(records, end=end)
    path = write(tmp_path / "a.TXT", content if last_ends else content.removesuffix(end))
    assert read_cotahist(path)["ticker"].to_pylist() == [f"AAAA{i}" for i in range(5)]


def test_a_zip_reads_as_its_member(raw, tmp_path):
    content = raw.text([raw.record(CODNEG=f"AAAA{i}") for i in range(3)])
    plain = read_cotahist(write(tmp_path / "a.txt", content))
    assert read_cotahist(raw.write_zip(tmp_path / "a.ZIP", A__TXT=content)).equals(plain)


@pytest.mark.parametrize("block_rows", [1, 2, 3, 7, 8, 9, 100])
def test_the_block_size_changes_nothing(raw, tmp_path, block_rows):
    records = [raw.record(CODNEG=f"AAAA{i}", NOMRES="AÇÃO"[: i % 5]) for i in range(7)]
    path = write(tmp_path / "a.txt", raw.text(records))
    blocks = list(iter_blocks(path, block_rows))
    assert pa.Table.from_batches([b.batch for b in blocks]).equals(read_cotahist(path))
    assert [b.first_line for b in blocks] == [2 + i * block_rows for i in range(len(blocks))]
    assert sum(b.batch.num_rows for b in blocks) == 7


def test_the_header_tells_when_the_file_was_made(raw, tmp_path):
    header = read_header(write(tmp_path / "a.txt", raw.text([], generated=20210126)))
    assert header.generated == np.datetime64("2021-01-26")
    assert header.name == "COTAHIST.2021"


def test_missing_quotes_and_expiries_are_null_and_counted(raw, tmp_path):
    records = [raw.record(PREOFC=0), raw.record(PREOFV=0), raw.record(PREOFC=0, PREOFV=0, DATVEN=20230217)]
    path = write(tmp_path / "a.txt", raw.text(records))
    table = read_cotahist(path)
    assert table["bid_cents"].to_pylist() == [None, 1049, None]
    assert table["ask_cents"].to_pylist() == [1051, None, None]
    assert table["expiry"].to_pylist() == [None, None, datetime.date(2023, 2, 17)]
    (block,) = iter_blocks(path)
    assert dict(block.rule_counts) == dict(zip(RULES, (2, 2, 2), strict=True))


def test_no_bdi_code_or_market_is_filtered(raw, tmp_path):
    records = [raw.record(CODBDI=b, TPMERC=m) for b, m in (("02", 10), ("08", 10), ("93", 21), ("99", 999))]
    table = read_cotahist(write(tmp_path / "a.txt", raw.text(records)))
    assert table["bdi_code"].to_pylist() == ["02", "08", "93", "99"]
    assert table["market_type"].to_pylist() == [10, 10, 21, 999]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, ""),
        ({"PREMAX": 890, "PREABE": 895, "PREULT": 895}, "high below low"),
        ({"PREABE": 899}, "open outside low..high"),
        ({"PREABE": 1101}, "open outside low..high"),
        ({"PREULT": 1101}, "close outside low..high"),
        ({"PREULT": 0}, "a price is zero"),
        ({"PREMIN": 0}, "a price is zero"),
        ({"FATCOT": 0}, "quotation factor is zero"),
        ({"QUATOT": 0}, "quantity is zero"),
        ({"DATA": 20230201}, "session after the file's own date"),
        ({"PREOFC": 1060, "PREOFV": 1040}, ""),  # a crossed book at the close can be
        ({"TOTNEG": 0}, ""),  # 100,000 trades modulo 100,000
        ({"PREMED": 9999}, ""),  # corrected later than the other prices: seen in real files
    ],
)
def test_an_impossible_row_carries_its_reason(raw, tmp_path, values, reason):
    path = write(tmp_path / "a.txt", raw.text([raw.record(), raw.record(**values)]))
    (block,) = iter_blocks(path)
    assert [REASONS[code] for code in block.reason] == ["", reason]


@pytest.mark.parametrize("name", [*NUMBERS, "DATA", "DATVEN", "PRAZOT"])
def test_a_letter_in_a_number_is_refused_with_line_columns_and_field(raw, tmp_path, name):
    first, last = raw.columns[name]
    bad = bytearray(raw.record(PRAZOT="030"))
    bad[last - 1 : last] = b"O"
    path = write(tmp_path / "a.txt", raw.text([raw.record(), bytes(bad), raw.record()]))
    with pytest.raises(DataError, match=rf"a\.txt line 3, columns {first}-{last} \({name}\): must be .*; was '.*O'"):
        read_cotahist(path)


@pytest.mark.parametrize("name", ["CODBDI", "CODNEG", "NOMRES", "ESPECI", "MODREF", "CODISI"])
@pytest.mark.parametrize("byte", [b"\t", b"\x00", b"\x7f"])
def test_a_control_character_in_a_text_is_refused(raw, name, byte):
    first, last = raw.columns[name]
    bad = bytearray(raw.record())
    bad[first - 1 : first] = byte
    with pytest.raises(DataError, match=rf"line 1, columns {first}-{last} \({name}\): must be printable"):
        parse_records(bytes(bad) + b"\r\n")


@pytest.mark.parametrize("day", ["20230231", "20231301", "20230100", "20230132", "00000101", "19000229", "20230431"])
@pytest.mark.parametrize("name", ["DATA", "DATVEN"])
def test_a_day_that_does_not_exist_is_refused(raw, day, name):
    with pytest.raises(DataError, match=rf"\({name}\): must be a date AAAAMMDD; was '{day}'"):
        parse_records(raw.record(**{name: day}))


@pytest.mark.parametrize("day", ["19851231", "22000101", "00010101", "99991231"])
def test_a_session_outside_of_the_series_is_refused(raw, day):
    with pytest.raises(
        DataError, match=rf"line 1, columns 3-10 \(DATA\): must be a session of 1986 to 2199; was '{day}'"
    ):
        parse_records(raw.record(DATA=int(day)))
    first_and_last = parse_records(b"".join(raw.record(DATA=day) + b"\r\n" for day in (19860101, 21991231)))
    assert [str(session) for session in first_and_last["session"].to_pylist()] == ["1986-01-01", "2199-12-31"]


def test_a_file_of_more_months_than_there_can_be_is_refused(raw, tmp_path):
    months = [year * 10_000 + month * 100 + 2 for year in range(1990, 2042) for month in range(1, 13)]
    records = [raw.record(DATA=day) for day in months]
    assert read_cotahist(write(tmp_path / "a.txt", raw.text(records[:600], generated=20991231))).num_rows == 600
    path = write(tmp_path / "b.txt", raw.text(records, generated=20991231))
    for block_rows in (1, 7, 8_192):
        with pytest.raises(DataError, match="sessions of more than 600 months"):
            list(iter_blocks(path, block_rows))


def test_day_numbers_are_those_of_the_calendar_and_nothing_else_is_a_day():
    numbers = [y * 10000 + m * 100 + d for y in range(1896, 2105) for m in range(14) for d in range(33)]
    found = {number: kernels._day_number(number) for number in numbers}
    days = [day for day in found.values() if day != kernels.BAD_DATE]
    expected = np.arange(np.datetime64("1896-01-01"), np.datetime64("2105-01-01"))
    assert days == expected.astype(int).tolist()
    assert all(found[number] == kernels._day_number.py_func(number) for number in numbers[::101])


@pytest.mark.parametrize("change", [b"", b"X" * 3])
def test_a_record_of_another_length_is_refused(raw, tmp_path, change):
    good = raw.record()
    records = [good, good[:200] + change, good]
    path = write(tmp_path / "a.txt", raw.text(records))
    with pytest.raises(DataError, match=rf"line 3: a record must have 245 bytes; this one has {200 + len(change)}"):
        read_cotahist(path)


def test_mixed_line_ends_are_refused(raw, tmp_path):
    crlf, lf = raw.text([raw.record()]), raw.record() + b"\n"
    with pytest.raises(DataError, match="line 3: ends in another line end"):
        read_cotahist(write(tmp_path / "a.txt", crlf[: 2 * 247] + lf + crlf[2 * 247 :]))


def test_a_truncated_file_says_how_many_records_are_missing(raw, tmp_path):
    path = write(tmp_path / "a.txt", raw.text([raw.record()] * 504, count=1745))
    with pytest.raises(DataError, match="line 506: the trailer says 1,745 records, the file has 506: it is truncated"):
        read_cotahist(path)


@pytest.mark.parametrize("records", [0, 1, 3])
def test_a_file_without_trailer_is_refused(raw, tmp_path, records):
    content = raw.text([raw.record()] * records)[:-247]
    with pytest.raises(DataError, match=rf"ends after line {records + 1} without a trailer \(99\): it is truncated"):
        list(iter_blocks(write(tmp_path / "a.txt", content), block_rows=1))


def test_a_file_cut_inside_a_record_is_refused(raw, tmp_path):
    content = raw.text([raw.record()] * 3)[: 2 * 247 + 100]
    with pytest.raises(DataError, match=r"line 3: the file ends inside a record \(100 of 245 bytes\)"):
        read_cotahist(write(tmp_path / "a.txt", content))


def test_a_file_without_header_is_refused(raw, tmp_path):
    with pytest.raises(DataError, match=r"line 1: must be the header \(00COTAHIST\.\.\.\); was '0120230102"):
        read_cotahist(write(tmp_path / "a.txt", raw.record() + b"\r\n"))


def test_a_header_without_date_is_refused(raw, tmp_path):
    content = raw.text([]).replace(b"BOVESPA 20230131", b"BOVESPA 20230231", 1)
    with pytest.raises(DataError, match=r"line 1, columns 24-31 \(DATGER\): must be a date"):
        read_header(write(tmp_path / "a.txt", content))


def test_a_trailer_without_count_is_refused(raw, tmp_path):
    content = raw.text([raw.record()]).replace(b"00000000003", b"0000000000X")
    with pytest.raises(DataError, match=r"columns 32-42 \(TOTREG\): must be digits; was '0000000000X'"):
        read_cotahist(write(tmp_path / "a.txt", content))


@pytest.mark.parametrize("block_rows", [1, 2, 3, 4, 100])
def test_two_files_in_one_are_refused(raw, tmp_path, block_rows):
    path = write(tmp_path / "a.txt", raw.text([raw.record()]) * 2)
    with pytest.raises(DataError, match=r"line 4: bytes follow the trailer"):
        list(iter_blocks(path, block_rows))


def test_another_record_type_is_refused(raw, tmp_path):
    path = write(tmp_path / "a.txt", raw.text([raw.record(), raw.record(TIPREG=2)]))
    with pytest.raises(DataError, match=r"line 3, columns 1-2 \(TIPREG\): must be 01 \(quote\) or 99 \(trailer\)"):
        read_cotahist(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Not found</html>", "is an HTML or XML page, not market data"),
        (b"\r\n  <html><body>captcha", "is an HTML or XML page, not market data"),
        (b"hello", "line 1: the file ends inside a record"),
        (b"PK\x03\x04 and nothing else", "is a damaged zip file"),
    ],
)
def test_a_foreign_file_is_refused_in_one_sentence(tmp_path, content, words):
    with pytest.raises(DataError, match=rf"a\.ZIP.* {words}|a\.ZIP {words}"):
        read_cotahist(write(tmp_path / "a.ZIP", content))


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-8-sig", "UTF-8 byte-order mark"),
        ("utf-16", "UTF-16 byte-order mark"),
        ("utf-16-le", "re-saved as UTF-16"),
        ("utf-16-be", "re-saved as UTF-16"),
        ("utf-8", "line 3: holds UTF-8 characters of several bytes"),
    ],
)
def test_a_file_saved_in_another_encoding_is_refused(raw, tmp_path, encoding, words):
    content = raw.text([raw.record(), raw.record(NOMRES="AÇÃO")]).decode("latin-1").encode(encoding)
    with pytest.raises(DataError, match=words):
        read_cotahist(write(tmp_path / "a.txt", content))


def test_a_zip_with_two_members_is_refused_and_names_them(raw, tmp_path):
    path = raw.write_zip(tmp_path / "a.ZIP", A__TXT=raw.text([]), B__TXT=b"x")
    with pytest.raises(DataError, match=r"a\.ZIP must hold exactly one file; it holds 2 \(A\.TXT, B\.TXT\)"):
        read_cotahist(path)


def test_an_empty_zip_and_a_zip_in_a_zip_are_refused(raw, tmp_path):
    with pytest.raises(DataError, match="must hold exactly one file; it holds 0"):
        read_cotahist(raw.write_zip(tmp_path / "a.zip"))
    inner = raw.write_zip(tmp_path / "inner.zip", A__TXT=raw.text([])).read_bytes()
    with pytest.raises(DataError, match="is itself a zip file"):
        read_cotahist(raw.write_zip(tmp_path / "b.zip", inner__zip=inner))


def test_an_html_page_inside_a_zip_is_refused(raw, tmp_path):
    with pytest.raises(DataError, match="is an HTML or XML page"):
        read_cotahist(raw.write_zip(tmp_path / "a.zip", A__TXT=b"<html></html>"))


def test_a_zip_with_a_damaged_byte_is_refused(raw, tmp_path):
    content = raw.text([raw.record(CODNEG=f"A{i}", QUATOT=i * 7919 + 1) for i in range(500)])
    whole = bytearray(raw.write_zip(tmp_path / "a.zip", A__TXT=content).read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    with pytest.raises(DataError, match=r"a\.zip"):
        read_cotahist(write(tmp_path / "a.zip", bytes(whole)))


def test_a_truncated_zip_is_refused(raw, tmp_path):
    whole = raw.write_zip(tmp_path / "a.zip", A__TXT=raw.text([raw.record()] * 50)).read_bytes()
    with pytest.raises(DataError, match="is a damaged zip file"):
        read_cotahist(write(tmp_path / "a.zip", whole[: len(whole) // 2]))


def test_a_zip_whose_checksum_is_wrong_is_refused(raw, tmp_path):
    content = raw.text([raw.record()] * 3)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.txt", content)
    stored = (tmp_path / "a.zip").read_bytes()
    with pytest.raises(DataError, match="damaged zip file"):
        read_cotahist(write(tmp_path / "a.zip", stored.replace(b"EXAMPLE", b"EXEMPLO", 1)))


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none\.zip: No such file"):
        read_cotahist(tmp_path / "none.zip")


def test_the_block_size_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="block_rows must be positive; was 0"):
        next(iter_blocks(tmp_path / "a.zip", 0))


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 5 * 247 - 1), byte=st.integers(0, 255))
def test_one_changed_byte_is_refused_or_read_as_a_file_of_as_many_rows(raw, tmp_path_factory, position, byte):
    content = bytearray(raw.text([raw.record(CODNEG=f"AAAA{i}") for i in range(3)]))
    content[position] = byte
    path = write(tmp_path_factory.getbasetemp() / "mutated.txt", bytes(content))
    refusal = ""
    try:
        table = read_cotahist(path)
    except DataError as error:
        refusal = str(error)
    assert "not a well-formed quote record" not in refusal
    if not refusal:
        body = [bytes(content[247 * i : 247 * i + 245]) for i in (1, 2, 3)]
        assert table.to_pylist() == [slow_row(line, raw.columns) for line in body]


REAL = {
    "COTAHIST_A2021_16_SESSIONS.ZIP": (110_290, 16),
    "COTAHIST_A2023_12_SESSIONS.ZIP": (104_390, 12),
    "COTAHIST_A2023_EQUITIES.ZIP": (92_608, 248),
    "COTAHIST_D25062021.TXT": (7_518, 1),
    "COTAHIST_D12022003_DEMO.TXT": (551, 1),
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", list(REAL))
def test_real_files_have_the_rows_that_their_trailers_say_and_every_field_is_right(realdata, raw, name):
    path = realdata / "cotahist" / name
    rows, sessions = REAL[name]
    table = read_cotahist(path)
    assert table.num_rows == rows
    assert len(pc.unique(table["session"])) == sessions
    if path.suffix == ".ZIP":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(archive.namelist()[0])
    else:
        content = path.read_bytes()
    records = content.splitlines()[1:-1]
    assert len(records) == rows
    first, last = raw.columns["QUATOT"]
    assert pc.sum(table["quantity"]).as_py() == sum(int(line[first - 1 : last]) for line in records)
    first, last = raw.columns["VOLTOT"]
    assert pc.sum(table["traded_value_cents"]).as_py() == sum(int(line[first - 1 : last]) for line in records)
    chosen = range(0, rows, 97)
    assert table.take(list(chosen)).to_pylist() == [slow_row(records[i], raw.columns) for i in chosen]


@pytest.mark.realdata
def test_real_rows_obey_the_facts_known_of_them(realdata):
    names = ("COTAHIST_A2021_16_SESSIONS.ZIP", "COTAHIST_A2023_12_SESSIONS.ZIP")
    tables = [read_cotahist(realdata / "cotahist" / name) for name in names]
    faults = [block.reason.any() for name in names for block in iter_blocks(realdata / "cotahist" / name)]
    assert not any(faults)
    for table in tables:
        keys = table.group_by(["session", "ticker", "market_type", "forward_days"]).aggregate([])
        assert keys.num_rows == table.num_rows
        spot = table.filter(pc.equal(table["market_type"], 10))
        value, quantity, factor = (spot[c].to_numpy() for c in ("traded_value_cents", "quantity", "quotation_factor"))
        truncated = [int(v) * int(f) // int(q) for v, f, q in zip(value, factor, quantity, strict=True)]
        agreed = np.mean(spot["average_cents"].to_numpy() == np.array(truncated))
        assert agreed > 0.999
    first = tables[0]
    chosen = first.filter(pc.equal(first["ticker"], "A1AP34")).to_pylist()[0]
    assert chosen["quantity"] % 10 != 0  # the digit that a float reader drops


@pytest.mark.realdata
def test_the_real_truncated_file_is_refused_with_both_counts(realdata):
    with pytest.raises(DataError, match=r"TRUNCATED\.TXT line 506: the trailer says 1,745 records, the file has 506"):
        read_cotahist(realdata / "cotahist" / "COTAHIST_D04012016_TRUNCATED.TXT")


@pytest.mark.realdata
def test_real_event_records_read_alone_and_are_refused_as_a_file(realdata):
    path = realdata / "cotahist" / "EVENT_RECORDS_2024.TXT"
    assert parse_records(path.read_bytes()).num_rows == 14
    with pytest.raises(DataError, match=r"line 1: must be the header"):
        read_cotahist(path)
