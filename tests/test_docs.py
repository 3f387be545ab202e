"""The Python blocks of the README and the docs run, those of one page in one namespace; links lead somewhere."""

from __future__ import annotations

import re
import shlex
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from data_pipeline.synthetic import ExchangeConfig, write_exchange
from data_pipeline.synthetic.b3_trade_files import make_tape, write_trades
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from fairfield.cli import app

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if BLOCK.search(page.read_text())]


def run_the_commands_on_data(text: str, network: Path) -> None:
    """The README's first commands on data as they are written, with simulated files in the place of the network."""
    write_exchange(
        network / "exchange",
        ExchangeConfig(seed=1, first_session=date(2025, 1, 1), last_session=date(2025, 12, 31), instruments=24),
    )
    history = network / "bvmf.bmfbovespa.com.br" / "InstDados" / "SerHist"
    history.mkdir(parents=True)
    (network / "exchange" / "raw" / "COTAHIST_A2025.ZIP").rename(history / "COTAHIST_A2025.ZIP")
    session = network / "drp.b3.com.br" / "rapinegocios" / "tickercsv" / "2025-06-02"
    session.parent.mkdir(parents=True)
    books = {
        name: simulate_book(BookConfig(seed=k, seconds=120.0)) for k, name in enumerate(("SYNT3", "SYNT4", "SYNW11"))
    }
    write_trades(session.with_suffix(".zip"), make_tape(books, day=session.name)).rename(session)
    block = text[text.index("## Data") :].partition("```sh\n")[2].partition("```")[0]
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert len(commands) == 6
    for words in commands:
        assert words[0] == "fairfield"
        mirror = ["--mirror", str(network)] if words[1] == "fetch" else []
        said = CliRunner().invoke(app, [*words[1:], *mirror])
        assert said.exit_code == 0, (words, said.output)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    if page.name == "README.md":
        run_the_commands_on_data(text, tmp_path / "network")
    # Data classes look their module up by name.
    module = ModuleType(f"example_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in BLOCK.finditer(text):
        # Blank lines in front: a traceback then names the line of the page.
        source = "\n" * text[: block.start(1)].count("\n") + block.group(1)
        exec(compile(source, str(page), "exec"), module.__dict__)


def test_the_pages_that_should_have_examples_have_them():
    assert {"README.md", "market-making.md", "pods.md"} <= {page.name for page in PAGES}


LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
TEXTS = [
    ROOT / "README.md",
    *(page for folder in ("docs", "benchmarks", "examples") for page in (ROOT / folder).glob("*.md")),
]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_link_of_a_page_leads_to_a_file(page):
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_leads_to_every_page():
    text = (ROOT / "README.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in text] == []


def test_the_readme_names_every_table_that_files_fill():
    from data_pipeline.tables.catalog import TABLES

    text = (ROOT / "README.md").read_text()
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    assert [name for name in TABLES if name not in rows and name not in ("bars", "closes")] == []
