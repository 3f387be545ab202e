from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.atomic import exclusive_lock
from data_pipeline.errors import DataError
from data_pipeline.ingest import ingest
from data_pipeline.store import Store

DAYS = (20230130, 20230131, 20230201)


def tree(folder):
    """Every file of the store with the hash of its bytes."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def rows(store):
    return Store.open(store).read(["session", "ticker", "close_cents"]).to_pylist()


@pytest.fixture
def write(raw, tmp_path):
    """Write a COTAHIST file: `write(name, [record values...], generated)`."""

    def make(name, records, generated=20230228):
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = raw.text([raw.record(**values) for values in records], generated)
        if path.suffix.lower() == ".zip":
            return raw.write_zip(path, **{f"{path.stem}__TXT": content})
        path.write_bytes(content)
        return path

    return make


@pytest.fixture
def days(write):
    """A file of three sessions in two months, four rows each."""
    return write("A2023.ZIP", [{"DATA": day, "CODNEG": f"AAA{i}3"} for day in DAYS for i in "DACB"])


def test_a_file_becomes_a_sorted_store_and_the_report_says_so(days, tmp_path):
    report = ingest(days, tmp_path / "store")
    assert report.complete
    assert list(report.lines()) == ["accepted A2023.ZIP: 12 rows in 3 sessions"]
    found = rows(tmp_path / "store")
    assert [row["ticker"] for row in found] == ["AAAA3", "AAAB3", "AAAC3", "AAAD3"] * 3
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == [".lock", "cotahist", "manifest.json"]


def test_the_same_file_twice_changes_no_byte(days, tmp_path):
    ingest(days, tmp_path / "store")
    before = tree(tmp_path / "store")
    stamp = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    report = ingest([days, days], tmp_path / "store")
    assert report.unchanged == ("A2023.ZIP",)
    assert not report.accepted
    assert report.complete
    assert tree(tmp_path / "store") == before
    assert (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == stamp


def test_a_file_given_twice_in_one_call_is_read_once(days, tmp_path):
    copy = shutil.copy(days, days.with_name("B.ZIP"))
    report = ingest([days, copy], tmp_path / "store")
    assert [source.file for source in report.accepted] == ["A2023.ZIP"]
    assert report.unchanged == ("B.ZIP",)


def test_two_stores_from_the_same_files_have_the_same_bytes(days, tmp_path):
    for name in ("one", "two"):
        ingest(days, tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_daily_files_in_any_order_and_grouping_give_the_content_of_the_whole(write, tmp_path):
    records = [{"DATA": day, "CODNEG": f"AAA{i}3", "PREULT": 1000 + day % 7} for day in DAYS for i in range(3)]
    ingest(write("whole.zip", records), tmp_path / "whole")
    expected = Store.open(tmp_path / "whole")
    daily = [
        write(f"D{day}.txt", [r for r in records if r["DATA"] == day], 20230300 + n) for n, day in enumerate(DAYS, 1)
    ]
    for number, order in enumerate(itertools.permutations(daily)):
        store = tmp_path / f"store{number}"
        for group in (order[:2], order[2:]) if number % 2 else (order,):
            ingest(group, store)
        assert Store.open(store).content_hash == expected.content_hash
        assert Store.open(store).read().equals(expected.read())


def test_a_newer_version_of_a_session_replaces_it_and_the_report_says_what_vanished(write, tmp_path):
    old = write("old.txt", [{"CODNEG": "AAAA3"}, {"CODNEG": "AAAAB10", "TPMERC": 70}, {"CODNEG": "CCCC3"}], 20230110)
    new = write("new.txt", [{"CODNEG": "AAAA3", "PREULT": 1060}], 20230120)
    ingest(old, tmp_path / "store")
    report = ingest(new, tmp_path / "store")
    (change,) = report.replaced
    assert (change.session, change.held_by, change.offered_by) == ("2023-01-02", "old.txt", "new.txt")
    assert (change.rows_held, change.rows_offered, change.vanished_market_types) == (3, 1, (70,))
    assert "replaced 1 sessions (2023-01-02) of old.txt by new.txt: 3 rows before, 1 after; " in "\n".join(
        report.lines()
    )
    assert "market types no longer there: 070" in "\n".join(report.lines())
    assert [row["close_cents"] for row in rows(tmp_path / "store")] == [1060]
    store = Store.open(tmp_path / "store")
    assert {s.file for s in store.manifest.sources} == {"old.txt", "new.txt"}
    assert len(list((tmp_path / "store").rglob("*.parquet"))) == 1  # the old part is gone


def test_an_older_version_changes_nothing_and_the_report_says_so(write, tmp_path):
    new = write("new.txt", [{"PREULT": 1060}], 20230120)
    old = write("old.txt", [{"PREULT": 1040}], 20230110)
    ingest(new, tmp_path / "store")
    content = Store.open(tmp_path / "store").content_hash
    report = ingest(old, tmp_path / "store")
    assert [(c.held_by, c.offered_by) for c in report.kept] == [("new.txt", "old.txt")]
    assert "kept 1 sessions (2023-01-02) of new.txt: old.txt is an older version of them" in list(report.lines())
    assert Store.open(tmp_path / "store").content_hash == content
    assert ingest(old, tmp_path / "store").unchanged == ("old.txt",)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_versions_in_one_call_settle_as_made_whatever_their_order(write, tmp_path, order):
    files = [write("b_old.txt", [{"PREULT": 1040}], 20230110), write("a_new.txt", [{"PREULT": 1060}], 20230120)]
    report = ingest([files[i] for i in order], tmp_path / "store")
    assert [row["close_cents"] for row in rows(tmp_path / "store")] == [1060]
    assert [(c.held_by, c.offered_by) for c in report.replaced] == [("b_old.txt", "a_new.txt")]


def test_of_two_versions_made_on_one_day_the_latest_ingested_holds(write, tmp_path):
    first = write("first.txt", [{"PREULT": 1040}])
    second = write("second.txt", [{"PREULT": 1060}])
    ingest(first, tmp_path / "store")
    assert len(ingest(second, tmp_path / "store").replaced) == 1
    assert rows(tmp_path / "store")[0]["close_cents"] == 1060
    report = ingest(first, tmp_path / "store")
    assert [(c.held_by, c.offered_by) for c in report.replaced] == [("second.txt", "first.txt")]
    assert rows(tmp_path / "store")[0]["close_cents"] == 1040
    assert ingest(first, tmp_path / "store").unchanged == ("first.txt",)


def test_a_newer_version_with_the_same_rows_is_no_replacement(write, days, tmp_path):
    ingest(days, tmp_path / "store")
    before = Store.open(tmp_path / "store")
    day = write("D.txt", [{"DATA": DAYS[1], "CODNEG": f"AAA{i}3"} for i in "ABCD"], 20230301)
    report = ingest(day, tmp_path / "store")
    assert not report.replaced
    after = Store.open(tmp_path / "store")
    assert after.content_hash == before.content_hash
    entries = {d: e.source for p in after.manifest.partitions for d, e in p.sessions.items()}
    assert after.manifest.source(entries["2023-01-31"]).file == "D.txt"


def test_impossible_and_repeated_rows_are_in_quarantine_with_file_and_line(write, tmp_path):
    path = write(
        "a.txt",
        [
            {"CODNEG": "BBBB3", "PREULT": 1099},
            {"CODNEG": "AAAA3", "PREABE": 5},
            {"CODNEG": "BBBB3", "PREULT": 1001},
            {"CODNEG": "BBBB3T", "TPMERC": 30, "PRAZOT": "030"},
            {"CODNEG": "BBBB3T", "TPMERC": 30, "PRAZOT": "060"},
            {"CODNEG": "AAAA3", "PREULT": 1002},
            {"CODNEG": "BBBB3", "PREULT": 1099},
        ],
    )
    report = ingest(path, tmp_path / "store")
    assert [(s.rows, s.quarantined) for s in report.accepted] == [(7, 3)]
    assert list(report.lines()) == ["accepted a.txt: 7 rows in 1 sessions, 3 in quarantine"]
    store = Store.open(tmp_path / "store")
    good = [(r["ticker"], r["close_cents"]) for r in rows(tmp_path / "store")]
    assert good == [("AAAA3", 1002), ("BBBB3", 1099), ("BBBB3T", 1050), ("BBBB3T", 1050)]
    bad = store.quarantine().select(["ticker", "close_cents", "reason", "source", "line"]).to_pylist()
    duplicate = "duplicate key (session, ticker, market type, forward days)"
    assert [tuple(row.values()) for row in bad] == [
        ("AAAA3", 1050, "open outside low..high", "a.txt", 3),
        ("BBBB3", 1001, duplicate, "a.txt", 4),
        ("BBBB3", 1099, duplicate, "a.txt", 8),
    ]
    assert store.manifest.quarantined_rows == 3
    ingest(write("b.txt", [{"CODNEG": "AAAA3"}], 20230301), tmp_path / "store")
    assert Store.open(tmp_path / "store").quarantine().num_rows == 0  # it went with the version it was in


def test_a_session_with_only_impossible_rows_is_no_session(write, tmp_path):
    ingest(write("a.txt", [{"QUATOT": 0}, {"DATA": 20230103}]), tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert store.sessions().astype(str).tolist() == ["2023-01-03"]
    assert store.quarantine().num_rows == 1


def test_a_bad_file_in_a_folder_is_refused_by_name_and_the_others_go_in(days, write, raw, tmp_path):
    folder = days.parent
    (folder / "page.ZIP").write_bytes(b"<html>captcha</html>")
    (folder / "sub").mkdir()
    (folder / "sub" / "cut.txt").write_bytes(raw.text([raw.record(DATA=20230105)] * 3, count=9))
    (folder / "none.TXT").write_bytes(raw.text([]))
    (folder / "rates.json").write_text('{"error": 500}')
    (folder / "notes.md").write_text("not looked at")
    write("sub/D.TXT", [{"DATA": 20230102}])
    report = ingest(folder, tmp_path / "store")
    assert not report.complete
    assert [source.file for source in report.accepted] == ["A2023.ZIP", "D.TXT"]
    assert [refusal.file for refusal in report.refused] == ["none.TXT", "page.ZIP", "rates.json", "cut.txt"]
    said = "\n".join(report.lines())
    assert "refused page.ZIP is an HTML or XML page, not market data" in said
    assert "refused cut.txt line 5: the trailer says 9 records, the file has 5" in said
    assert "refused none.TXT holds no quote record (01)" in said
    assert "refused rates.json is JSON of an unknown kind" in said
    assert len(Store.open(tmp_path / "store").sessions()) == 4
    assert not list((tmp_path / "store").glob(".staging"))


def test_a_call_in_which_every_file_is_refused_makes_no_store(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    report = ingest(tmp_path / "a.zip", tmp_path / "store")
    assert [r.reason for r in report.refused] == [
        "a.zip is empty: the download failed or the day had no session; fetch it again"
    ]
    with pytest.raises(DataError, match="holds no store"):
        Store.open(tmp_path / "store")


@pytest.mark.parametrize(
    ("name", "words"),
    [("empty", r"holds no raw file \(.zip, .*: name the folder of the raw files"), ("none", "does not exist")],
)
def test_an_empty_folder_and_a_missing_path_are_errors(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=words):
        ingest(tmp_path / name, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_no_path_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no path was given"):
        ingest([], tmp_path / "store")


def test_a_store_path_that_is_a_file_is_an_error(days, tmp_path):
    with pytest.raises(DataError, match=r"A2023\.ZIP is a file, not a folder: name a new or an empty folder"):
        ingest(days, days)


@pytest.mark.parametrize("name", ["notes.txt", "cotahist/COTAHIST_A2023.ZIP", "events/party.ics"])
def test_a_folder_with_other_files_is_not_made_a_store_and_loses_nothing(days, tmp_path, name):
    path = tmp_path / "precious" / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with pytest.raises(DataError, match=rf"precious holds other files \({path.name}\) and no store: name a new"):
        ingest(days, tmp_path / "precious")
    assert [p for p in (tmp_path / "precious").rglob("*") if p.is_file()] == [path]


def test_files_of_others_in_a_store_are_left_alone(days, write, tmp_path):
    ingest(days, tmp_path / "store")
    path = tmp_path / "store" / "cotahist" / "notes.txt"
    path.write_text("precious")
    ingest(write("newer.txt", [{"DATA": DAYS[0]}], 20230301), tmp_path / "store")
    assert path.read_text() == "precious"


def test_a_store_inside_the_folder_of_the_raw_files_is_not_read_as_raw(days):
    for _ in range(2):
        assert ingest(days.parent, days.parent / "store").complete


def test_two_ingests_at_once_are_an_error(days, tmp_path):
    (tmp_path / "store").mkdir()
    with (
        exclusive_lock(tmp_path / "store" / ".lock"),
        pytest.raises(DataError, match="store is being written by another command: wait until it has ended"),
    ):
        ingest(days, tmp_path / "store")


def test_progress_tells_the_rows_of_each_file_and_month(days, tmp_path):
    told = []
    ingest(days, tmp_path / "store", progress=lambda what, count: told.append((what, count)))
    assert told == [("A2023.ZIP", 12), ("merging 2023-01", 8), ("merging 2023-02", 4)]


# every way out of the process's own hands that an ingest takes
DOORS = (
    (os, "replace"),
    (os, "fsync"),
    (os, "mkdir"),
    (os, "unlink"),
    (pathlib.Path, "rename"),
    (pathlib.Path, "write_bytes"),
    (pq, "write_table"),
    (pa, "OSFile"),
    (shutil, "rmtree"),
)


class Fault:
    """Raises at the n-th call through any of the doors; counts them all."""

    def __init__(self, monkeypatch, at=None, error=None):
        self.calls, self.at, self.error, self.committed = 0, at, error, None
        for owner, name in DOORS:
            monkeypatch.setattr(owner, name, self.guard(getattr(owner, name)))

    def guard(self, door):
        def call(*args, **kwargs):
            if (door is MAKE_FOLDER and pathlib.Path(args[0]).is_dir()) or (door is OPEN_FILE and args[1] == "rb"):
                return door(*args, **kwargs)
            self.calls += 1
            if self.calls == self.at:
                raise self.error
            result = door(*args, **kwargs)
            if door is REPLACE and str(args[1]).endswith("manifest.json"):
                self.committed = self.calls
            return result

        return call


REPLACE, MAKE_FOLDER, OPEN_FILE = os.replace, os.mkdir, pa.OSFile


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()],
    ids=["disk full", "ctrl-c"],
)
def test_a_fault_at_any_step_leaves_the_old_store_or_the_new_one(days, write, tmp_path, error):
    base, store = tmp_path / "base", tmp_path / "store"
    ingest(days, base)
    newer = write(
        "newer.txt", [{"DATA": day, "CODNEG": "ZZZZ3", "QUATOT": i} for day in DAYS for i in (0, 7)], 20230301
    )
    rates = tmp_path / "raw" / "cdi.json"
    rates.write_text('[{"data": "02/01/2023", "valor": "0.05"}]')
    old = Store.open(base).read()

    shutil.copytree(base, store)
    with pytest.MonkeyPatch.context() as patch:
        clean = Fault(patch)
        ingest([newer, rates], store)
    new = Store.open(store).read()
    finished = tree(store)
    assert clean.committed is not None
    assert clean.calls > clean.committed > 15

    refusals = []
    for at in range(1, clean.calls + 1):
        shutil.rmtree(store)
        shutil.copytree(base, store)
        with pytest.MonkeyPatch.context() as patch:
            Fault(patch, at, error)
            try:
                ingest([newer, rates], store)
            except (DataError, type(error)) as caught:
                refusals.append(caught)
            else:
                # only the removal of the staging folder may fail unsaid: the next ingest removes it
                assert isinstance(error, OSError)
                assert at > clean.committed
        state = Store.open(store)
        state.verify()
        assert state.read().equals(old if at <= clean.committed else new)
        assert ingest([newer, rates], store).complete
        assert tree(store) == finished
    assert len(refusals) >= clean.committed > 15
    if isinstance(error, OSError):
        words = f"cannot write to {store}: no space left on the disk: free some"
        assert {str(refusal)[: len(words)] for refusal in refusals} == {words}


def test_a_file_system_that_takes_no_more_bytes_leaves_the_old_store(days, write, tmp_path):
    ingest(days, tmp_path / "store")
    before = tree(tmp_path / "store")
    big = write("big.txt", [{"CODNEG": f"A{i}", "QUATOT": 1 + i * 7919} for i in range(3000)], 20230301)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write to .*store: the file would pass the size"):
            ingest(big, tmp_path / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert tree(tmp_path / "store") == before


def test_a_process_killed_before_the_commit_leaves_the_old_store_and_the_next_ingest_cleans_up(days, write, tmp_path):
    store = tmp_path / "store"
    ingest(days, store)
    before = Store.open(store)
    newer = write("newer.txt", [{"DATA": DAYS[0], "CODNEG": "ZZZZ3"}], 20230301)
    code = (
        "import os, sys; from data_pipeline import atomic; from data_pipeline.ingest import ingest\n"
        "move = os.replace\n"
        "os.replace = lambda a, b: os._exit(9) if str(b).endswith('manifest.json') else move(a, b)\n"
        "ingest(sys.argv[1], sys.argv[2])"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(newer), str(store)], check=False)
    assert ended.returncode == 9
    assert (store / ".staging").is_dir()
    after = Store.open(store)
    assert after.manifest == before.manifest
    after.verify()
    assert len(list(store.rglob("part-*.parquet"))) == 3  # two of the store, one orphan
    ingest(days, store)
    assert tree(store).keys() == {".lock", "manifest.json", *(part.path for part in before.manifest.parts())}


def test_what_a_killed_first_ingest_leaves_is_no_store_and_is_cleaned_by_the_next(days, tmp_path):
    store = tmp_path / "store"
    ingest(days, tmp_path / "clean")
    shutil.copytree(tmp_path / "clean", store)
    (store / "manifest.json").rename(store / ".manifest.json.77.tmp")
    (store / ".staging" / "spill").mkdir(parents=True)
    orphan = store / "cotahist" / "year=1999" / "month=01" / f"part-{0:016x}.parquet"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"half")
    with pytest.raises(DataError, match="holds no store"):
        Store.open(store)
    assert ingest(days, store).complete
    assert tree(store) == tree(tmp_path / "clean")
    assert not orphan.parent.parent.exists()


def company_files(folder, name="GetListedCashDividends.json"):
    folder.mkdir(parents=True, exist_ok=True)
    details = {
        "issuingCompany": "AAAA",
        "tradingName": "EXAMPLE",
        "otherCodes": [{"code": "AAAA3", "isin": "BRAAAAACNOR1"}],
    }
    (folder / "GetDetailsCompany.json").write_text(json.dumps(details))
    record = {
        "typeStock": "ON",
        "dateApproval": "09/12/2021",
        "valueCash": "0,5",
        "corporateAction": "DIVIDENDO",
        "lastDatePriorEx": "17/12/2021",
        "quotedPerShares": "1",
    }
    (folder / name).write_text(json.dumps({"page": {"totalPages": 1}, "results": [record]}))
    return folder


def test_company_events_and_rates_go_into_the_same_store(days, tmp_path):
    folder = company_files(tmp_path / "raw" / "aaaa")
    (tmp_path / "raw" / "cdi.json").write_text('[{"data": "02/01/2023", "valor": "0.05"}]')
    report = ingest(tmp_path / "raw", tmp_path / "store")
    assert report.complete
    kinds = {source.file: source.kind for source in report.accepted}
    assert kinds == {
        "A2023.ZIP": "cotahist",
        "GetDetailsCompany.json": "company_details",
        "GetListedCashDividends.json": "company_events",
        "cdi.json": "cdi",
    }
    store = Store.open(tmp_path / "store")
    assert [(e["issuer"], e["isin"], e["cash"]) for e in store.events().to_pylist()] == [("AAAA", "BRAAAAACNOR1", 0.5)]
    assert store.cdi()["daily_return"].to_pylist() == [0.0005]
    before = tree(tmp_path / "store")
    assert len(ingest(folder, tmp_path / "store").unchanged) == 2
    assert tree(tmp_path / "store") == before


def test_a_cash_history_without_its_company_is_refused(tmp_path):
    folder = company_files(tmp_path / "raw")
    report = ingest(folder / "GetListedCashDividends.json", tmp_path / "store")
    assert "does not say which company it is about: ingest it together with" in report.refused[0].reason


def test_among_several_companies_the_file_name_tells_which(tmp_path):
    folder = company_files(tmp_path / "raw", "dividends_AAAA.json")
    other = {"issuingCompany": "BBBB", "tradingName": "OTHER", "otherCodes": []}
    (folder / "GetDetailsCompany_BBBB.json").write_text(json.dumps(other))
    assert ingest(folder, tmp_path / "store").complete
    assert Store.open(tmp_path / "store").events()["issuer"].to_pylist() == ["AAAA"]
    (folder / "dividends_AAAA.json").rename(folder / "dividends.json")
    report = ingest(folder, tmp_path / "other")
    assert [r.file for r in report.refused] == ["dividends.json"]


def test_details_that_cannot_be_read_are_refused_once(tmp_path):
    (tmp_path / "d.json").write_text('{"issuingCompany": null, "otherCodes": []}')
    report = ingest(tmp_path / "d.json", tmp_path / "store")
    assert [r.reason for r in report.refused] == ["d.json: issuingCompany must be text; was None"]


def test_rates_of_several_files_are_joined_and_a_changed_day_is_told(tmp_path):
    (tmp_path / "a.json").write_text(
        '[{"data": "02/01/2023", "valor": "0.05"}, {"data": "03/01/2023", "valor": "0.05"}]'
    )
    (tmp_path / "b.json").write_text(
        '[{"data": "04/01/2023", "valor": "0.05"}, {"data": "03/01/2023", "valor": "0.06"}]'
    )
    assert not ingest(tmp_path / "a.json", tmp_path / "store").notes
    report = ingest(tmp_path / "b.json", tmp_path / "store")
    assert report.notes == ("replaced the CDI of 1 days by b.json",)
    assert dict(report.accepted[0].rule_counts) == {"CDI days out of order were sorted": 1}
    assert "accepted b.json: 2 rows; 1 CDI days out of order were sorted" in list(report.lines())
    assert Store.open(tmp_path / "store").cdi()["daily_return"].to_pylist() == [0.0005, 0.0006, 0.0005]


@pytest.mark.parametrize("content", [b"<html>504</html>", b"", b"[", b"\xff\xfe[\x00]\x00", b"[1"])
def test_a_web_page_or_broken_json_is_refused(tmp_path, content):
    (tmp_path / "cdi.json").write_bytes(content)
    report = ingest(tmp_path / "cdi.json", tmp_path / "store")
    assert len(report.refused) == 1
    assert report.refused[0].reason.startswith("cdi.json ")


@pytest.mark.realdata
def test_the_real_folder_goes_in_but_for_the_two_files_that_cannot(realdata, tmp_path):
    report = ingest([realdata / "cotahist", realdata / "corporate_actions"], tmp_path / "store")
    assert {r.file for r in report.refused} == {"COTAHIST_D04012016_TRUNCATED.TXT", "EVENT_RECORDS_2024.TXT"}
    assert {(s.rows, s.quarantined) for s in report.accepted if s.kind == "cotahist"} == {
        (110_290, 0),
        (104_390, 0),
        (92_608, 0),
        (7_518, 0),
        (551, 0),
    }
    store = Store.open(tmp_path / "store")
    store.verify()
    # the year's equities were made after the twelve sessions of all markets, and take their place
    assert {c.offered_by for c in report.replaced} == {"COTAHIST_A2023_EQUITIES.ZIP"}
    assert len(report.replaced) == 12
    assert sum(c.rows_held for c in report.replaced) == 104_390
    assert store.read(["session"]).num_rows == 110_290 + 92_608 + 7_518 + 551
    assert len(store.sessions()) == 16 + 248 + 1 + 1
    table = store.read(start="2023-01-01")
    keys = list(zip(*(table[c].to_pylist() for c in ("session", "ticker", "market_type")), strict=True))
    assert keys == sorted(set(keys))


@pytest.mark.realdata
def test_real_sessions_ingested_day_by_day_have_the_content_of_the_whole(realdata, raw, tmp_path):
    source = realdata / "cotahist" / "COTAHIST_A2021_16_SESSIONS.ZIP"
    ingest(source, tmp_path / "whole")
    with zipfile.ZipFile(source) as archive:
        records = archive.read(archive.namelist()[0]).splitlines()[1:-1]
    by_day = {}
    for line in records:
        by_day.setdefault(int(line[2:10]), []).append(line)
    files = []
    for day in sorted(by_day, reverse=True):
        files.append(tmp_path / f"D{day}.TXT")
        files[-1].write_bytes(raw.text(by_day[day], generated=day))
    ingest(files[3:7], tmp_path / "daily")
    ingest(files, tmp_path / "daily")
    assert Store.open(tmp_path / "daily").content_hash == Store.open(tmp_path / "whole").content_hash
