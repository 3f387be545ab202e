"""Downloads from a local server that misbehaves in every way that the venues' servers do."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_pipeline.errors import DataError
from data_pipeline.fetching.checks import is_file, is_zip, json_check
from data_pipeline.fetching.fetch import fetch
from data_pipeline.fetching.items import Item, Policy
from data_pipeline.fetching.journal import JOURNAL, read_journal
from data_pipeline.fetching.transfer import partial_path

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
PAGE = (
    b"<!DOCTYPE html><html><head><title>Sistema indispon\xc3\xadvel</title></head><body>tente mais tarde</body></html>"
)


def zipped(size: int = 700_000, seed: int = 1) -> bytes:
    """A stored zip of that many bytes that do not repeat."""
    blocks = [hashlib.sha256(f"{seed} {k}".encode()).digest() for k in range(size // 32)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("COTAHIST.TXT"), b"".join(blocks))
    return buffer.getvalue()


BODY = zipped()


class Server:
    """A server whose answers are scripts: a function of the handler and the number of the request to its path."""

    def __init__(self) -> None:
        self.scripts: dict[str, Callable[[BaseHTTPRequestHandler, int], None]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        counts: dict[str, int] = defaultdict(int)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, dict(self.headers)))
                counts[self.path] += 1
                self.close_connection = True
                outer.scripts.get(self.path, not_found)(self, counts[self.path])

            def log_message(self, *arguments: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.httpd.server_port}{path}"

    def close(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()


class FakeClock:
    """Waits without waiting."""

    def __init__(self) -> None:
        self.time, self.slept = 0.0, list[float]()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


def answer(handler, status: int, body: bytes = b"", promised: int | None = None, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if promised is None else promised))
    handler.send_header("Connection", "close")
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def not_found(handler, number: int) -> None:
    answer(handler, 404, b"nothing here")


def whole(handler, number: int) -> None:
    answer(handler, 200, BODY)


def ranged(handler, start: int, stop: int | None = None, etag: str = '"one"') -> None:
    """The bytes from start, cut at `stop`, as a server with ranges answers."""
    piece = BODY[start:stop]
    if start == 0:
        answer(handler, 200, piece, promised=len(BODY), ETag=etag)
        return
    told = {"Content_Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}", "ETag": etag}
    answer(handler, 206, piece, promised=len(BODY) - start, **told)


def asked_start(handler) -> int:
    return int(handler.headers.get("Range", "bytes=0-")[6:-1])


def run(server, folder, items=None, *, policy=None, clock=None, **more):
    if items is None:
        items = [Item(server.url("/a.zip"), "a.zip", is_zip)]
    chosen = policy or Policy(attempts=3, interval=0.0, timeout=5.0)
    return fetch(items, folder, chosen, clock=clock or FakeClock(), retrieved_at=lambda: NOW, **more)


def left_over(folder) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.name not in (JOURNAL, ".fetch.lock"))


def test_a_sound_file_is_there_with_its_origin(server, tmp_path):
    server.scripts["/a.zip"] = whole
    report = run(server, tmp_path)
    assert report.complete
    assert (tmp_path / "a.zip").read_bytes() == BODY
    entry = read_journal(tmp_path)["a.zip"]
    assert (entry.sha256, entry.size) == (hashlib.sha256(BODY).hexdigest(), len(BODY))
    assert (entry.url, entry.retrieved_at) == (server.url("/a.zip"), "2024-01-02T03:04:05+00:00")
    assert left_over(tmp_path) == ["a.zip"]


def test_a_second_fetch_asks_nothing(server, tmp_path):
    server.scripts["/a.zip"] = whole
    run(server, tmp_path)
    report = run(server, tmp_path)
    assert list(report.kept) == ["a.zip"]
    assert report.complete
    assert len(server.requests) == 1


def test_a_broken_transfer_goes_on_where_it_broke(server, tmp_path):
    server.scripts["/a.zip"] = lambda h, n: ranged(h, asked_start(h), None if n == 3 else asked_start(h) + 300_000)
    assert run(server, tmp_path, policy=Policy(attempts=1, interval=0.0)).complete
    starts = [headers.get("Range") for _, headers in server.requests]
    assert starts == [None, "bytes=300000-", "bytes=600000-"]
    assert server.requests[1][1]["If-Range"] == '"one"'
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_an_interrupted_fetch_goes_on_in_the_next_run(server, tmp_path):
    server.scripts["/a.zip"] = lambda h, n: ranged(h, asked_start(h), 100_000 if n == 1 else None)
    first = run(server, tmp_path, policy=Policy(attempts=1, interval=0.0))
    assert "kept and continued" in first.refused["a.zip"]
    assert not (tmp_path / "a.zip").exists()
    assert partial_path(tmp_path / "a.zip").stat().st_size == 100_000
    assert run(server, tmp_path).complete
    assert server.requests[1][1]["Range"] == "bytes=100000-"
    assert left_over(tmp_path) == ["a.zip"]


def test_without_a_validator_a_transfer_starts_again(server, tmp_path):
    server.scripts["/a.zip"] = lambda h, n: answer(h, 200, BODY[: 100_000 if n == 1 else None], promised=len(BODY))
    assert run(server, tmp_path).complete
    assert all("Range" not in headers for _, headers in server.requests)


def test_a_file_that_changed_between_two_parts_is_not_mixed(server, tmp_path):
    other = zipped(seed=2)

    def script(handler, number: int) -> None:
        if number == 1:
            ranged(handler, 0, 300_000)
        else:  # If-Range fails: the whole new file
            answer(handler, 200, other, ETag='"two"')

    server.scripts["/a.zip"] = script
    assert run(server, tmp_path).complete
    assert (tmp_path / "a.zip").read_bytes() == other


def test_a_server_that_continues_elsewhere_is_not_believed(server, tmp_path):
    def script(handler, number: int) -> None:
        if number == 2:
            told = {"Content_Range": f"bytes 5-{len(BODY) - 1}/{len(BODY)}"}
            answer(handler, 206, BODY[5:], ETag='"one"', **told)
        else:
            ranged(handler, asked_start(handler), 300_000 if number == 1 else None)

    server.scripts["/a.zip"] = script
    assert run(server, tmp_path).complete
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_a_refused_range_starts_again(server, tmp_path):
    def script(handler, number: int) -> None:
        if asked_start(handler):
            answer(handler, 416)
        else:
            ranged(handler, 0, 300_000 if number == 1 else None)

    server.scripts["/a.zip"] = script
    assert run(server, tmp_path).complete


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_refusal_is_tried_again_after_a_wait(server, tmp_path, status):
    server.scripts["/a.zip"] = lambda h, n: answer(h, status) if n < 3 else whole(h, n)
    clock = FakeClock()
    assert run(server, tmp_path, clock=clock).complete
    assert clock.slept == [1.0, 2.0]


def test_retry_after_is_obeyed_up_to_the_longest_wait(server, tmp_path):
    def script(handler, number: int) -> None:
        if number < 3:
            answer(handler, 429, Retry_After="7" if number == 1 else "86400")
        else:
            whole(handler, number)

    server.scripts["/a.zip"] = script
    clock = FakeClock()
    assert run(server, tmp_path, clock=clock).complete
    assert clock.slept == [7.0, 60.0]


def test_attempts_are_bounded(server, tmp_path):
    server.scripts["/a.zip"] = lambda h, n: answer(h, 500)
    report = run(server, tmp_path)
    assert "given up after 3 attempts" in report.refused["a.zip"]
    assert len(server.requests) == 3
    assert not (tmp_path / "a.zip").exists()


def test_an_error_page_with_status_200_is_not_saved(server, tmp_path):
    server.scripts["/a.zip"] = lambda h, n: answer(h, 200, PAGE, Content_Type="application/zip")
    report = run(server, tmp_path)
    assert "Sistema indispon" in report.refused["a.zip"]
    assert left_over(tmp_path) == []


def test_an_error_page_once_is_only_a_failed_attempt(server, tmp_path):
    server.scripts["/a.zip"] = lambda h, n: answer(h, 200, PAGE) if n == 1 else whole(h, n)
    assert run(server, tmp_path).complete


@pytest.mark.parametrize(
    "body", [b"", b"   ", BODY[:-100], BODY[:5000] + b"\0" + BODY[5001:], b"PK\x03\x04", b'{"erro": 1}']
)
def test_damaged_zips_are_refused(server, tmp_path, body):
    server.scripts["/a.zip"] = lambda h, n: answer(h, 200, body)
    report = run(server, tmp_path)
    assert list(report.refused) == ["a.zip"]
    assert left_over(tmp_path) == []


def test_a_missing_file_is_absent_and_the_others_come(server, tmp_path):
    server.scripts["/b.zip"] = whole
    items = [Item(server.url(f"/{name}.zip"), f"{name}.zip", is_zip) for name in "ab"]
    report = run(server, tmp_path, items)
    assert list(report.absent) == ["a.zip"]
    assert list(report.fetched) == ["b.zip"]
    assert len(server.requests) == 2


def test_a_final_refusal_is_not_tried_again(server, tmp_path):
    server.scripts["/a.zip"] = lambda h, n: answer(h, 403)
    assert "status 403" in run(server, tmp_path).refused["a.zip"]
    assert len(server.requests) == 1


def test_a_published_hash_is_verified(server, tmp_path):
    good = hashlib.sha256(BODY).hexdigest()
    server.scripts["/a.zip"] = whole
    server.scripts["/a.zip.CHECKSUM"] = lambda h, n: answer(h, 200, f"{good}  a.zip\n".encode())
    item = Item(server.url("/a.zip"), "a.zip", is_zip, checksum_url=server.url("/a.zip.CHECKSUM"))
    assert run(server, tmp_path, [item]).complete
    assert read_journal(tmp_path)["a.zip"].checksum == "verified"
    wrong = Item(server.url("/a.zip"), "b.zip", is_zip, sha256="0" * 64)
    assert "published is 0000" in run(server, tmp_path, [wrong]).refused["b.zip"]
    assert left_over(tmp_path) == ["a.zip"]


def test_an_endless_file_is_cut_off(server, tmp_path):
    def endless(handler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    server.scripts["/a.zip"] = endless
    report = run(server, tmp_path, policy=Policy(attempts=2, interval=0.0, most_bytes=1 << 20))
    assert "more than the 1,048,576 bytes allowed" in report.refused["a.zip"]
    assert not (tmp_path / "a.zip").exists()


def test_a_silent_server_is_left_after_the_timeout(server, tmp_path):
    gone = threading.Event()
    server.scripts["/a.zip"] = lambda h, n: gone.wait(5.0)
    report = run(server, tmp_path, policy=Policy(attempts=2, interval=0.0, timeout=0.1))
    gone.set()
    assert "given up after 2 attempts" in report.refused["a.zip"]


def test_a_dripping_server_is_left(server, tmp_path):
    class Ticking(FakeClock):
        def now(self) -> float:
            self.time += 1.0  # each look at the clock is a second later
            return self.time

    def drip(handler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            for k in range(400):
                handler.wfile.write(BODY[k : k + 1])
                handler.wfile.flush()
                threading.Event().wait(0.002)
        except OSError:
            pass

    server.scripts["/a.zip"] = drip
    policy = Policy(attempts=1, interval=0.0, timeout=5.0, slowest=1e6)
    report = run(server, tmp_path, policy=policy, clock=Ticking())
    assert "bytes came" in report.refused["a.zip"]


def test_requests_keep_their_distance(server, tmp_path):
    items = []
    for name in "abc":
        server.scripts[f"/{name}.zip"] = whole
        items.append(Item(server.url(f"/{name}.zip"), f"{name}.zip", is_zip))
    clock = FakeClock()
    run(server, tmp_path, items, policy=Policy(interval=2.5), clock=clock)
    assert clock.slept == [2.5, 2.5]


def test_what_is_there_is_never_overwritten_in_silence(server, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"mine")
    server.scripts["/a.zip"] = whole
    assert list(run(server, tmp_path).kept) == ["a.zip"]
    assert (tmp_path / "a.zip").read_bytes() == b"mine"
    report = run(server, tmp_path, refresh=True)
    aside = f"a.{hashlib.sha256(b'mine').hexdigest()[:8]}.zip"
    assert aside in report.fetched["a.zip"]
    assert (tmp_path / aside).read_bytes() == b"mine"
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_refreshing_an_unchanged_file_keeps_it(server, tmp_path):
    def script(handler, number: int) -> None:
        if handler.headers.get("If-None-Match") == '"one"':
            answer(handler, 304)
        else:
            ranged(handler, 0)

    server.scripts["/a.zip"] = script
    run(server, tmp_path)
    report = run(server, tmp_path, refresh=True)
    assert "unchanged" in report.kept["a.zip"]
    assert left_over(tmp_path) == ["a.zip"]


def test_a_file_that_changed_on_disk_is_told(server, tmp_path):
    server.scripts["/a.zip"] = whole
    run(server, tmp_path)
    (tmp_path / "a.zip").write_bytes(b"edited")
    assert "changed since it was fetched" in run(server, tmp_path).refused["a.zip"]


def test_one_answer_leads_to_others(server, tmp_path):
    def page(number: int) -> Item:
        def follow(content: bytes) -> tuple[Item, ...]:
            return (page(number + 1),) if number < json.loads(content)["pages"] else ()

        return Item(server.url(f"/{number}"), f"{number}.json", json_check(lambda c: None), follow=follow)

    for number in (1, 2, 3):
        server.scripts[f"/{number}"] = lambda h, n: answer(h, 200, b'{"pages": 3}')
    assert sorted(run(server, tmp_path, [page(1)]).fetched) == ["1.json", "2.json", "3.json"]
    server.scripts["/1"] = lambda h, n: answer(h, 200, b"{}")
    report = run(server, tmp_path / "other", [page(1)])
    assert "does not say what to fetch next" in next(iter(report.refused.values()))


def test_a_mirror_stands_for_the_venue(server, tmp_path):
    server.scripts["/m/data.example.com/x/a.zip"] = whole
    item = Item("https://data.example.com/x/a.zip", "a.zip", is_zip)
    policy = Policy(interval=0.0, mirror=server.url("/m"))
    assert run(server, tmp_path / "one", [item], policy=policy).complete
    place = tmp_path / "mirror" / "data.example.com" / "x"
    place.mkdir(parents=True)
    (place / "a.zip").write_bytes(BODY)
    folder = Policy(interval=0.0, mirror=str(tmp_path / "mirror"))
    assert run(server, tmp_path / "two", [item], policy=folder).complete
    assert (tmp_path / "two" / "a.zip").read_bytes() == BODY
    gone = Item("https://data.example.com/../../secret", "b.zip", is_file)
    assert list(run(server, tmp_path / "two", [gone], policy=folder).absent) == ["b.zip"]


def test_a_full_disk_is_told_and_nothing_appears(server, tmp_path, monkeypatch):
    server.scripts["/a.zip"] = whole
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert "free some" in run(server, tmp_path).refused["a.zip"]
    assert not (tmp_path / "a.zip").exists()


def test_nobody_listening_is_told(tmp_path):
    item = Item("http://127.0.0.1:9/a.zip", "a.zip", is_zip)
    report = fetch([item], tmp_path, Policy(attempts=2, interval=0.0, timeout=1.0), clock=FakeClock())
    assert "no connection" in report.refused["a.zip"]


def test_redirects_are_followed_but_not_without_end(server, tmp_path):
    server.scripts["/a.zip"] = lambda h, n: answer(h, 302, Location="/b.zip")
    server.scripts["/b.zip"] = whole
    assert run(server, tmp_path).complete
    server.scripts["/loop.zip"] = lambda h, n: answer(h, 302, Location="/loop.zip")
    report = run(server, tmp_path, [Item(server.url("/loop.zip"), "loop.zip", is_zip)])
    assert "redirects without end" in report.refused["loop.zip"]


def test_a_continuation_of_another_version_is_not_mixed_in(server, tmp_path):
    """A server that heeds no If-Range and gives the rest of a newer file, of which no checksum would tell."""
    old, new = b"a" * 400_000, b"b" * 400_000

    def script(handler, number: int) -> None:
        start = asked_start(handler)
        if number == 1:
            answer(handler, 200, old[:300_000], promised=len(old), ETag='"one"')
        elif start:
            told = {"Content_Range": f"bytes {start}-{len(new) - 1}/{len(new)}", "ETag": '"two"'}
            answer(handler, 206, new[start:], **told)
        else:
            answer(handler, 200, new, ETag='"two"')

    server.scripts["/a.txt"] = script
    assert run(server, tmp_path, [Item(server.url("/a.txt"), "a.txt", is_file)]).complete
    assert (tmp_path / "a.txt").read_bytes() == new


def test_a_packed_answer_is_not_taken_for_the_file(server, tmp_path):
    server.scripts["/a.csv"] = lambda h, n: answer(h, 200, b"\x1f\x8b packed", Content_Encoding="gzip")
    report = run(server, tmp_path, [Item(server.url("/a.csv"), "a.csv", is_file)])
    assert "packed the file (gzip)" in report.refused["a.csv"]
    server.scripts["/a.csv.gz"] = lambda h, n: answer(h, 200, b"\x1f\x8b packed", Content_Encoding="gzip")
    assert run(server, tmp_path, [Item(server.url("/a.csv.gz"), "a.csv.gz", is_file)]).complete


def test_a_file_that_is_too_large_leaves_nothing_behind(server, tmp_path):
    server.scripts["/a.zip"] = lambda h, n: ranged(h, asked_start(h))
    report = run(server, tmp_path, policy=Policy(interval=0.0, most_bytes=1000))
    assert "more than the 1,000 bytes allowed" in report.refused["a.zip"]
    assert left_over(tmp_path) == []


def test_a_bomb_of_compressed_size_is_refused_before_it_is_unpacked(server, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w") as member:
        for _ in range(200):
            member.write(bytes(1 << 20))
    server.scripts["/a.zip"] = lambda h, n: answer(h, 200, buffer.getvalue())
    report = run(server, tmp_path, policy=Policy(attempts=1, interval=0.0))
    assert "bomb" in report.refused["a.zip"]
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("moment", ["before its name", "before the journal"])
def test_a_fetch_killed_at_its_end_is_completed_by_the_next(server, tmp_path, monkeypatch, moment):
    server.scripts["/a.zip"] = whole

    class Killed(BaseException):
        pass

    def kill(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(
            f"data_pipeline.fetching.fetch.{'publish' if moment == 'before its name' else 'append_journal'}", kill
        )
        with pytest.raises(Killed):
            run(server, tmp_path)
    assert read_journal(tmp_path) == {}
    report = run(server, tmp_path)
    assert report.complete
    assert len(server.requests) == (2 if moment == "before its name" else 1)
    entry = read_journal(tmp_path)["a.zip"]
    assert (entry.sha256, entry.retrieved_at) == (hashlib.sha256(BODY).hexdigest(), "2024-01-02T03:04:05+00:00")
    assert left_over(tmp_path) == ["a.zip"]


def test_what_the_journal_does_not_know_is_told(server, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"mine")
    assert "the journal does not know it" in run(server, tmp_path).kept["a.zip"]


def test_a_folder_behind_a_link_is_a_folder(server, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "cotahist").symlink_to(tmp_path / "disk")
    server.scripts["/a.zip"] = whole
    assert run(server, tmp_path / "raw", [Item(server.url("/a.zip"), "cotahist/a.zip", is_zip)]).complete
    assert (tmp_path / "disk" / "a.zip").read_bytes() == BODY


def test_two_fetches_into_one_folder_do_not_meet(server, tmp_path):
    def script(handler, number: int) -> None:
        with pytest.raises(DataError, match="being written by another command"):
            run(server, tmp_path)
        met.append(number)
        whole(handler, number)

    met: list[int] = []
    server.scripts["/a.zip"] = script
    assert run(server, tmp_path).complete
    assert met == [1]


def test_a_mirror_that_is_not_there_is_told(server, tmp_path):
    with pytest.raises(DataError, match="neither a folder nor an address"):
        run(server, tmp_path, policy=Policy(mirror=str(tmp_path / "gone")))


def test_a_folder_is_asked_without_waiting(tmp_path):
    place = tmp_path / "mirror" / "h"
    place.mkdir(parents=True)
    items = []
    for name in "abc":
        (place / name).write_bytes(b"1")
        items.append(Item(f"https://h/{name}", name, is_file))
    clock = FakeClock()
    assert fetch(items, tmp_path / "raw", Policy(mirror=str(tmp_path / "mirror")), clock=clock).complete
    assert clock.slept == []


def test_pages_without_end_are_not_followed(server, tmp_path):
    def page(number: int) -> Item:
        return Item(server.url("/p"), f"{number}.json", is_file, follow=lambda content: (page(number + 1),))

    server.scripts["/p"] = lambda h, n: answer(h, 200, b"{}")
    monkey = pytest.MonkeyPatch()
    monkey.setattr("data_pipeline.fetching.fetch._MOST_ITEMS", 5)
    with monkey.context(), pytest.raises(DataError, match="more than 5 files were asked for"):
        run(server, tmp_path, [page(1)])
    monkey.undo()
    assert len(read_journal(tmp_path)) == 5


def test_a_target_outside_the_folder_and_a_damaged_journal_are_refused(server, tmp_path):
    with pytest.raises(ValueError, match="below the download folder"):
        run(server, tmp_path, [Item(server.url("/a.zip"), "../a.zip", is_zip)])
    (tmp_path / JOURNAL).write_text("{half")
    with pytest.raises(DataError, match="line 1 is damaged"):
        run(server, tmp_path)


def test_impossible_policies_are_refused():
    with pytest.raises(ValueError, match="attempts must be at least 1; was 0"):
        Policy(attempts=0)
    with pytest.raises(ValueError, match="interval must be finite"):
        Policy(interval=float("nan"))
