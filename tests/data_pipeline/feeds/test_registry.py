from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead
from data_pipeline.feeds.registry import FEEDS, FileSet, feed_named, group_files, recognise, refuse_unknown


@dataclass(frozen=True)
class Toy:
    """Knows files that start with its name; reads all of a call together, or each alone."""

    name: str
    together: bool = False

    def recognises(self, head):
        return head.start.startswith(self.name.encode())

    def group(self, paths):
        if any(path.stem == "broken" for path in paths):
            raise DataError("broken.txt lacks its other half")
        return [tuple(paths)] if self.together else [(path,) for path in paths]


ONE, TWO, TWOFOLD = Toy("one"), Toy("two", together=True), Toy("twofold")


def head(start: bytes, name="a.zip", member=None):
    return RawHead(Path(name), member or name, start)


def test_a_file_is_of_the_one_format_that_knows_it():
    assert recognise(head(b"one;1"), (ONE, TWO)) is ONE
    assert recognise(head(b"three"), (ONE, TWO)) is None
    with pytest.raises(DataError, match=r"a\.zip looks like two and like twofold: it cannot be told which"):
        recognise(head(b"twofold"), (ONE, TWO, TWOFOLD))


def test_a_file_that_nobody_knows_is_refused_with_what_was_seen_and_what_is_known():
    with pytest.raises(DataError) as refusal:
        refuse_unknown(head(b"what;ever\n" + b"x" * 99, member="in.csv"), (ONE,))
    assert str(refusal.value).startswith(
        "a.zip:in.csv is of no known format (it starts 'what;ever'); known are cotahist, "
        "company events and CDI (JSON), one: if it is one of these, its start was changed or cut"
    )
    for start, words in ((b"", "is empty"), (b" <html>", "HTML or XML page"), (b"\xff\xfea", "UTF-16 byte-order")):
        with pytest.raises(DataError, match=words):
            refuse_unknown(head(start), (ONE,))


def test_files_are_grouped_by_their_feed_in_the_order_given():
    paths = [Path(name) for name in ("d", "c", "b", "a")]
    sets, refused = group_files(zip(paths, (TWO, ONE, TWO, ONE), strict=True))
    assert sets == [FileSet(TWO, (Path("d"), Path("b"))), FileSet(ONE, (Path("c"),)), FileSet(ONE, (Path("a"),))]
    assert not refused
    sets, refused = group_files([(Path("broken.txt"), ONE), (Path("x"), ONE), (Path("d"), TWO)])
    assert sets == [FileSet(TWO, (Path("d"),))]
    assert refused == dict.fromkeys((Path("broken.txt"), Path("x")), "broken.txt lacks its other half")


def test_feeds_have_names_of_their_own_and_are_found_by_them():
    assert len({feed.name for feed in FEEDS}) == len(FEEDS)
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", feed.name) for feed in FEEDS)
    assert [feed_named(feed.name) for feed in FEEDS] == list(FEEDS)
    with pytest.raises(ValueError, match="feed must be one of one, two; was 'three'"):
        feed_named("three", (ONE, TWO))


@given(start=st.binary(max_size=300), name=st.sampled_from(["a.txt", "a.csv", "a.xml", "a.json", "a.npz", "a.gz"]))
def test_no_start_of_a_file_upsets_a_feed(start, name):
    """Each feed answers yes or no (or refuses by words) whatever a file starts with."""
    with contextlib.suppress(DataError):
        assert recognise(head(start, name)) in (None, *FEEDS)
