"""Curves from pages, CSV and Parquet that are built here, and the real samples against pandas."""

from __future__ import annotations

import datetime
import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead
from data_pipeline.feeds.reference.yield_curves import RULE_CONTRADICTED, RULE_NO_360, RULE_REPEATED, YIELD_CURVES

DAY = datetime.date
ROW = {
    "curve_name": "PRE",
    "refdate": "2022-01-03",
    "forward_date": "2022-01-10",
    "cur_days": 7,
    "biz_days": 5,
    "r_252": 0.0916,
    "r_360": 0.0935,
}


def page(*values, curve="PRE", day="03/01/2022", heads=("252(2)(4)", "360(1)"), rows=True):
    """B3's page: titles over two rows, and (without `rows`) cells that no row holds."""
    width = 1 + len(heads)
    cells = [f'<td class="tabelaConteudo1" align="center">{value} </td>' for value in values]
    lines = ["".join(cells[number : number + width]) for number in range(0, len(cells), width)]
    body = "".join(f"<tr>{line}</tr>" for line in lines) if rows else "".join(lines)
    titles = "".join(f'<td class="tabelaItem">{head}</td>' for head in heads)
    return (
        '<html><head><title>Taxas referenciais</title></head><body><select name="slcTaxa" id="slcTaxa">'
        f'<option value="XXX">x</option><option value="{curve}" selected>DI x pr&eacute;</option></select>'
        f'<input name="Data" type="text" value="{day}"><table><tr><td>'
        '<table id="tb_principal1" class="tabConteudo"><tr><td class="tabelaTitulo" rowspan="2">Dias<br>Corridos</td>'
        f'<td class="tabelaTitulo" colspan="{len(heads)}">DI x pré</td></tr><tr>{titles}</tr>{body}</table>'
        "</td></tr></table></body></html>"
    ).encode("latin-1")


def csv(*rows, delimiter=","):
    lines = [delimiter.join(ROW), *(delimiter.join(str(value) for value in row.values()) for row in rows)]
    return "\n".join(lines).encode()


def parquet(*rows):
    out = io.BytesIO()
    dates = {"refdate", "forward_date"}
    cast = [{k: datetime.datetime.fromisoformat(v) if k in dates else v for k, v in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(cast), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content"), [("t.csv", csv(ROW)), ("t.csv", csv(ROW, delimiter=";")), ("t.parquet", parquet(ROW))]
)
def test_a_table_tells_vertices_as_fractions(feed_run, name, content, tmp_path):
    tables, tally = feed_run.read(YIELD_CURVES, {name: content})
    assert tables["yield_curves"].to_pylist() == [
        {
            "session": DAY(2022, 1, 3),
            "symbol": "PRE",
            "maturity": DAY(2022, 1, 10),
            "days": 7,
            "business_days": 5,
            "rate_252": 0.0916,
            "rate_360": 0.0935,
        }
    ]
    assert (tally.rows, tally.counts) == (1, {})
    (tmp_path / name).write_bytes(content)
    assert YIELD_CURVES.recognises(RawHead(tmp_path / name, name, content[:4096]))


@pytest.mark.parametrize("rows", [True, False])
def test_a_page_tells_days_and_percentages_whether_or_not_its_rows_are_closed(feed_run, rows, tmp_path):
    content = page("1", "9,15", "0,00", "7", "9,16", "9,35", "1.001", "10,0000", "--", rows=rows)
    tables, tally = feed_run.read(YIELD_CURVES, {"p.html": content})
    found = tables["yield_curves"].to_pydict()
    assert found["days"] == [1, 7, 1001]
    assert found["maturity"] == [DAY(2022, 1, 4), DAY(2022, 1, 10), DAY(2022, 1, 3) + datetime.timedelta(days=1001)]
    assert found["rate_252"] == [0.0915, 0.0916, 0.1]
    assert found["rate_360"] == [None, 0.0935, None]
    assert set(found["business_days"]) == {None}
    assert (tally.rows, tally.counts) == (3, {RULE_NO_360: 1})
    assert YIELD_CURVES.recognises(RawHead(tmp_path, "p", content[:4096]))


def test_a_page_of_one_base_is_read_by_its_title(feed_run):
    content = page("3", "-0,52", "32", "1,15", curve="DOC", heads=("360(1)",))
    found = feed_run.read(YIELD_CURVES, {"p.html": content})[0]["yield_curves"].to_pydict()
    assert (found["symbol"], found["rate_360"], found["rate_252"]) == (["DOC"] * 2, [-0.0052, 0.0115], [None] * 2)


def test_a_day_beyond_every_calendar_is_refused(feed_run):
    out = io.BytesIO()
    far = {"refdate": pa.array([2**31 - 1], pa.int32()).cast(pa.date32())}
    pq.write_table(pa.table({name: far.get(name, [value]) for name, value in ROW.items()}), out)
    with pytest.raises(DataError, match="row 1: refdate must be a date of 1900 to 2200"):
        feed_run.read(YIELD_CURVES, {"t.parquet": out.getvalue()})


def test_repeated_vertices_are_left_out_and_those_that_differ_counted(feed_run):
    mended = ROW | {"r_252": 0.0917}
    tables, tally = feed_run.read(YIELD_CURVES, {"t.csv": csv(ROW, ROW, mended)})
    assert tables["yield_curves"]["rate_252"].to_pylist() == [0.0917]
    assert tally.counts == {RULE_REPEATED: 2, RULE_CONTRADICTED: 1}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", csv(ROW | {"forward_date": "2022-01-11"}), "row 1: forward_date must be refdate and cur_days later"),
        ("t.csv", csv(ROW | {"biz_days": 8}), "biz_days must be 0 to cur_days"),
        ("t.csv", csv(ROW | {"cur_days": -7}), "cur_days must be 0 to 36525"),
        ("t.csv", csv(ROW | {"cur_days": 7.5}), "line 2: cur_days must be a whole number; was '7.5'"),
        ("t.csv", csv(ROW | {"r_252": 9.16}), "r_252 must be fractions"),
        ("t.csv", csv(ROW | {"curve_name": "pre"}), "curve_name must be capitals"),
        ("t.csv", csv(ROW | {"refdate": ""}), "refdate is absent"),
        ("t.csv", csv(ROW).replace(b"r_252", b"x").replace(b"r_360", b"y"), "neither r_252 nor r_360"),
        ("t.parquet", parquet(ROW)[:40], "is a damaged Parquet file"),
        ("p.html", page("1", "9,15"), "must have days and rates on the bases"),
        ("p.html", page("1", "9.15", "1,0"), "vertex 1: rate 252 must be a number like 1.234,56"),
        ("p.html", page("x", "9,15", "1,0"), "vertex 1: days must be a whole number"),
        ("p.html", page("1", "1", "1", day="yesterday"), "Data must be a date"),
        ("p.html", page("1", "1", "1", curve=""), "does not say which curve"),
        ("p.html", b"<html>N\xe3o h\xe1 dados para a data pesquisada slcTaxa</html>", "has no data for its day"),
        ("p.html", b"<html>Service Unavailable</html>", "has no table of reference rates"),
    ],
)
def test_what_cannot_be_is_refused(feed_run, name, content, words):
    with pytest.raises(DataError, match=words):
        feed_run.read(YIELD_CURVES, {name: content})


@given(st.data())
@settings(max_examples=60)
def test_damaged_pages_give_one_error_or_rows_that_can_be(feed_run, data):
    content = page("1", "9,15", "0,00", "7", "9,16", "9,35")
    feed_run.survives(YIELD_CURVES, "p.html", data.draw(feed_run.damage(content)))


@given(st.data())
@settings(max_examples=60)
def test_damaged_tables_give_one_error_or_rows_that_can_be(feed_run, data):
    name, content = data.draw(
        st.sampled_from([("t.csv", csv(ROW, ROW | {"cur_days": 7})), ("t.parquet", parquet(ROW))])
    )
    feed_run.survives(YIELD_CURVES, name, data.draw(feed_run.damage(content)))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "curve", "count"),
    [
        ("pre_samples", "PRE", 992),
        ("cambial_samples", "DOC", 992),
        ("ipca_samples", "DIC", 1317),
        ("pre_20240131", "PRE", 257),
    ],
)
def test_the_real_samples_are_whole(feed_run, realdata, name, curve, count):
    path = realdata / "reference" / f"yield_curve_{name}.parquet"
    tables, tally = feed_run.drain(YIELD_CURVES, [path])
    raw = pd.read_parquet(path)
    rows = tables["yield_curves"].to_pandas()
    assert tally.rows == len(rows) == len(raw) == count
    assert set(rows["symbol"]) == {curve}
    for ours, theirs in (("rate_252", "r_252"), ("rate_360", "r_360")):
        if theirs in raw:
            missing = (
                (raw["r_360"] == 0) & (raw["r_252"] != 0)
                if ours == "rate_360" and "r_252" in raw
                else pd.Series(False, raw.index)
            )
            assert rows[ours].isna().sum() == missing.sum()
            assert (rows[ours] == raw[theirs])[~missing].all()
    assert tally.counts.get(RULE_NO_360, 0) == (
        rows["rate_360"].isna().sum() if "r_252" in raw and "r_360" in raw else 0
    )
