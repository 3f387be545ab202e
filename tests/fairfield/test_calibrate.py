"""`fairfield calibrate` from raw files to the artefact: known truth, same bytes, one sentence for what is wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture, write_lobster, write_ofer
from fairfield.calibration_config import CalibrationConfig, load_calibration_config
from fairfield.stages import CONFIGURATIONS

TRUTH = BookConfig(seed=7, seconds=1500.0, clustering=0.0)
CLUSTERED = BookConfig(seed=4, seconds=1500.0, clustering=0.6)

CONFIG = """
[data]
{data}
[window]
tick = 0.01
parts = 2
currency = "USD"
{window}
[intensity]
max_ticks = 40
[adverse_selection]
horizon = 1.0
horizons = [0.1, 1.0, 10.0]
[game]
risk_aversion = 1e-3
max_inventory = 20
horizon = 60.0
competition = 0.0
[uncertainty]
draws = 0
"""
FILES = ("calibration.html", "calibration.json", "calibration.npz")


def calibrate(*arguments: object) -> Result:
    from fairfield.cli import app

    return CliRunner().invoke(app, ["calibrate", *(str(argument) for argument in arguments)])


def refused(result: Result, *words: str) -> None:
    """The command answered with one sentence that has these words."""
    assert result.exit_code == 1, result.output
    assert not isinstance(result.exception, Exception), repr(result.exception)
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("fairfield: ")]
    for word in words:
        assert word in sentence, sentence


def write_config(folder: Path, data: str, window: str = "") -> Path:
    path = folder / "desk.toml"
    path.write_text(CONFIG.format(data=data, window=window))
    return path


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """One simulated session in the three formats."""
    folder = tmp_path_factory.mktemp("raw")
    events = simulate_book(TRUTH)
    write_lobster(folder, events, levels=2)
    write_capture(folder / "capture.gz", events)
    write_ofer(folder / "ofer.csv", events)
    return folder


def data_of(feed: str, folder: Path) -> str:
    files = {
        "lobster": sorted(path.name for path in folder.glob("SYN_*")),
        "binance": ["capture.gz"],
        "b3_orders": ["ofer.csv"],
    }[feed]
    named = 'instrument = "SYNT3F"\n' if feed == "b3_orders" else ""
    return f'feed = "{feed}"\nfiles = {json.dumps(files)}\n{named}'


@pytest.fixture(scope="module", params=["lobster", "binance", "b3_orders"])
def artefact(request, raw, tmp_path_factory) -> tuple[dict, dict, Path]:
    config = write_config(raw, data_of(request.param, raw))
    folder = tmp_path_factory.mktemp("out") / request.param
    result = calibrate(config, "-o", folder)
    assert result.exit_code == 0, result.output
    assert tuple(contents(folder)) == FILES
    with np.load(folder / "calibration.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    return json.loads((folder / "calibration.json").read_text()), arrays, folder


def test_the_truth_comes_back_within_its_errors(artefact):
    found, _, _ = artefact
    parameters = found["parameters"]
    truth = {
        "mid_ask_arrival": TRUTH.ask_arrival,
        "mid_bid_arrival": TRUTH.bid_arrival,
        "fill_decay": TRUTH.fill_decay,
        "adverse_selection": TRUTH.adverse_selection,
    }
    for name, value in truth.items():
        assert abs(parameters[name]["value"] - value) < 4 * parameters[name]["error"], name
        assert parameters[name]["error"] < 0.25 * value, name


def test_the_verdict_does_not_reject_a_true_model(artefact):
    levels = [fact["level"] for fact in artefact[0]["verdict"]]
    assert "bad" not in levels
    assert artefact[0]["verdict"][-1]["level"] != "bad"


def test_the_bands_hold_the_equilibrium_of_the_truth(artefact):
    """The equilibrium of the true parameters, solved apart, lies within the band of the estimated one."""
    from dataclasses import replace

    from mfg_core import MarketMakingGame, solve_mfg

    found, _, _ = artefact
    own = found["equilibrium"]["parameters"]
    estimated = MarketMakingGame(**{name: value for name, value in own.items() if name != "max_inventory"},
                                 max_inventory=int(own["max_inventory"]))  # fmt: skip
    true = replace(
        estimated,
        ask_arrival=TRUTH.ask_arrival,
        bid_arrival=TRUTH.bid_arrival,
        fill_decay=TRUTH.fill_decay,
        adverse_selection=TRUTH.adverse_selection,
    )
    solved = solve_mfg(true, rtol=1e-6, atol=1e-9)
    spread = np.trapezoid(solved.full_spread, solved.times) / solved.times[-1]
    equilibrium = found["equilibrium"]
    assert abs(spread - equilibrium["full_spread"]) < 4 * equilibrium["full_spread_error"]


def test_the_delta_bands_are_those_of_solving_again(artefact):
    """d(spread)/d(xi) and d(spread)/dk against differences of two solves each."""
    from dataclasses import replace

    from mfg_core import MarketMakingGame, solve_mfg

    found, _, _ = artefact
    own = dict(found["equilibrium"]["parameters"])
    own["max_inventory"] = int(own["max_inventory"])
    game = MarketMakingGame(**own)
    stored = found["equilibrium"]["sensitivities"]
    slopes = dict(zip(stored["names"], stored["full_spread"], strict=True))
    for name in ("adverse_selection", "fill_decay"):
        step = 1e-3 * getattr(game, name)
        ends = [
            solve_mfg(replace(game, **{name: getattr(game, name) + s}), rtol=1e-9, atol=1e-12) for s in (step, -step)
        ]
        means = [np.trapezoid(e.full_spread, e.times) / e.times[-1] for e in ends]
        # both the solve at rtol 1e-6 and the trapezoids over different grids are right to about 1e-3
        assert (means[0] - means[1]) / (2 * step) == pytest.approx(slopes[name], rel=1e-2)


def test_the_artefact_says_what_it_came_from(artefact, raw):
    found, arrays, folder = artefact
    hashes = found["hashes"]
    for name in found["data"]["files"]:
        assert hashes[f"file {name}"] == hashlib.sha256((raw / name).read_bytes()).hexdigest()
    assert hashes["arrays"] == hashlib.sha256((folder / "calibration.npz").read_bytes()).hexdigest()
    covariance = np.array(found["covariance"]["matrix"])
    assert found["covariance"]["names"][:3] == ["ask_arrival", "bid_arrival", "fill_decay"]
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    assert arrays["policy_ask"].shape == (arrays["equilibrium_times"].size, 41)
    assert found["counts_of_the_fit"]["used"] > 1000


def test_the_quoted_spread_is_the_time_average(artefact, raw):
    """From the capture's own lines, added up one by one."""
    seconds = weighted = 0.0
    last = None
    with gzip.open(raw / "capture.gz") as stream:
        for line in stream:
            data = json.loads(line.split(b" ", 1)[1]).get("data", {})
            if data.get("e") == "bookTicker":
                if last is not None:
                    weighted += (float(last["a"]) - float(last["b"])) * (data["T"] - last["T"])
                    seconds += data["T"] - last["T"]
                last = data
    market = artefact[0]["market"]
    # the formats differ in the first and last instants and in stamps of milliseconds
    assert market["quoted_spread"] == pytest.approx(weighted / seconds, rel=1e-3)
    assert set(np.rint(np.array(market["quoted_spread_quantiles"]) / 0.01)) <= {2.0, 6.0}


def test_the_same_inputs_write_the_same_bytes(raw, tmp_path):
    config = write_config(raw, data_of("binance", raw))
    for name in ("one", "two"):
        assert calibrate(config, "-o", tmp_path / name).exit_code == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    again = calibrate(config, "-o", tmp_path / "one")
    assert again.exit_code == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_clustered_orders_are_rejected_first_of_all(tmp_path):
    write_capture(tmp_path / "capture.gz", simulate_book(CLUSTERED))
    result = calibrate(write_config(tmp_path, data_of("binance", tmp_path)), "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].startswith("! Rejected: arrivals are clustered")
    page = (tmp_path / "out" / "calibration.html").read_text()
    assert page.index("do not take the quotes below") < page.index("Rejected: arrivals") < page.index("Estimates</h2>")


def test_competition_is_estimated_and_a_wrong_one_rejected(raw, tmp_path):
    """The orders of the simulated book take no notice of the crowd: its competition is 0."""
    config = write_config(raw, data_of("binance", raw))
    text = config.read_text()
    config.write_text(text.replace("competition = 0.0", 'competition = "estimated"').replace("draws = 0", "draws = 40"))
    result = calibrate(config, "-o", tmp_path / "told")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "told" / "calibration.json").read_text())
    own = found["parameters"]["competition"]
    assert found["competition"]["source"] == "estimated"
    assert own["value"] < 4 * own["error"] < 0.5
    assert found["covariance"]["names"][-1] == "competition"
    assert found["covariance"]["matrix"][-1][-1] == pytest.approx(own["error"] ** 2, rel=1e-12)
    assert "competition" in found["equilibrium"]["sensitivities"]["names"]
    assert any("Competition is estimated" in line for line in result.stdout.splitlines())
    # Bands by draws and by derivatives are about one when errors are small; 40 draws know a width to a fifth.
    equilibrium = found["equilibrium"]
    drawn = equilibrium["by_draws"]["high"] - equilibrium["by_draws"]["low"]
    linear = equilibrium["full_spread_high"] - equilibrium["full_spread_low"]
    assert 0.5 < drawn / linear < 1.6
    assert not any("first order are not right" in fact["words"] for fact in found["verdict"])
    table = {row["competition"] for row in found["competitions"]}
    assert table == {0.0, 0.5, own["value"], 1.0}
    assert sum(row["used"] for row in found["competitions"]) == 1

    config.write_text(text.replace("competition = 0.0", "competition = 0.5"))
    assert calibrate(config, "-o", tmp_path / "wrong").exit_code == 0
    wrong = json.loads((tmp_path / "wrong" / "calibration.json").read_text())
    assert any(fact["level"] == "bad" and "At competition 0.5" in fact["detail"] for fact in wrong["verdict"]), wrong[
        "verdict"
    ]


def test_what_is_not_identified_is_said_and_noise_does_not_skew_in_silence(tmp_path):
    """A book of one spread: nothing tells competition. At 1 equal arrivals, counted apart, skew the quotes."""
    truth = BookConfig(seed=5, seconds=900.0, half_spreads=(1, 1), ask_arrival=3.0, bid_arrival=3.0)
    write_capture(tmp_path / "capture.gz", simulate_book(truth))
    config = write_config(tmp_path, data_of("binance", tmp_path))
    text = config.read_text()
    words = {}
    for name, replaced in (
        ("default", 'competition = "estimated"'),
        ("full", "competition = 1.0"),
        ("pooled", "competition = 1.0\nsymmetric = true"),
    ):
        config.write_text(text.replace("competition = 0.0", replaced))
        assert calibrate(config, "-o", tmp_path / name).exit_code == 0
        found = json.loads((tmp_path / name / "calibration.json").read_text())
        words[name] = " ".join(fact["words"] for fact in found["verdict"])
    assert "The data do not identify competition." in words["default"]
    assert "The skew of the equilibrium comes from an imbalance that is noise." in words["full"]
    assert "skew" not in words["pooled"]
    assert abs(found["equilibrium"]["net_skew"]) < 1e-9
    assert found["parameters"]["ask_arrival"]["value"] == found["parameters"]["bid_arrival"]["value"]


def test_the_window_is_that_of_the_feeds_clock(raw, tmp_path):
    config = write_config(raw, data_of("lobster", raw), "start = 10:05:00\nend = 10:20:00")
    assert calibrate(config, "-o", tmp_path / "out").exit_code == 0
    found = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert (found["window"]["start"], found["window"]["end"]) == (36_300.0, 37_200.0)
    assert [part["start"] for part in found["parts"]] == [36_300.0, 36_750.0]


def test_mistakes_are_answered_in_one_sentence(raw, tmp_path):
    good = data_of("lobster", raw)
    one_file = data_of("binance", raw).replace('"binance"', '"lobster"')
    cases = {
        ("unknown key window.tik", "tick"): lambda t: t.replace("tick =", "tik ="),
        ("window.tick", "greater than 0"): lambda t: t.replace("tick = 0.01", "tick = 0.0"),
        ("data.feed", "lobster"): lambda t: t.replace('"lobster"', '"lobsters"'),
        ("the key game.risk_aversion is missing",): lambda t: t.replace("risk_aversion = 1e-3\n", ""),
        ("files must be the message file and the orderbook file",): lambda t: t.replace(good, one_file),
        ("start must be before end",): lambda t: t.replace("parts = 2", "start = 11:00:00\nend = 10:00:00"),
        ("lies outside", "change it"): lambda t: t.replace("parts = 2", "start = 20:00:00"),
        ("cannot read", "No such file"): lambda t: t.replace("_2.csv", "_3.csv"),
        ("horizon",): lambda t: t.replace("horizon = 1.0", "horizon = 5000.0"),
    }  # fmt: skip
    for words, change in cases.items():
        config = write_config(raw, good)
        config.write_text(change(config.read_text()))
        refused(calibrate(config, "-o", tmp_path / "out"), *words)
        assert not (tmp_path / "out").exists()
    config = write_config(raw, data_of("b3_orders", raw).replace('instrument = "SYNT3F"', ""))
    refused(calibrate(config), "instrument must be given")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    refused(calibrate(write_config(raw, good), "-o", tmp_path / "kept"), "mine.txt")


def test_the_shipped_configurations_are_valid():
    shipped = sorted(CONFIGURATIONS.glob("calibrate_*.toml"))
    sources = ["b3_orders", "binance", "lobster", "store"]
    assert [path.stem for path in shipped] == [f"calibrate_{source}" for source in sources]
    for path, source in zip(shipped, sources, strict=True):
        assert isinstance(load_calibration_config(path), CalibrationConfig)
        assert tomllib.loads(path.read_text())["data"].get("feed", "store") == source


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "folder"), [("lobster", "lobster"), ("binance", "crypto"), ("b3_orders", "b3_trades")]
)
def test_real_days_go_through_with_the_shipped_configurations(realdata, tmp_path, name, folder):
    """Every real day rejects the Poisson model: orders cluster (Bowsher 2007; Bacry, Mastromatteo & Muzy 2015)."""
    text = (CONFIGURATIONS / f"calibrate_{name}.toml").read_text()
    for file in tomllib.loads(text)["data"]["files"]:
        text = text.replace(f'"{file}"', f'"{realdata / folder / file}"')
    (tmp_path / "real.toml").write_text(text)
    result = calibrate(tmp_path / "real.toml", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert found["verdict"][0]["words"].startswith("Rejected: arrivals are clustered")
    assert found["equilibrium"]["full_spread"] > found["window"]["tick"]
    assert found["parameters"]["adverse_selection"]["value"] > 0


@pytest.mark.parametrize("feed", ["lobster", "binance", "b3_orders"])
def test_a_book_written_by_the_command_line_comes_with_a_configuration_that_recovers_its_truth(feed, tmp_path):
    from fairfield.cli import app

    folder = tmp_path / "book"
    written = CliRunner().invoke(app, ["synthetic-book", str(folder), "--feed", feed, "--seconds", "1200"])
    assert written.exit_code == 0, written.output
    raw = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert calibrate(folder / "calibrate.toml", "--output", folder / "result").exit_code == 0
    found = json.loads((folder / "result" / "calibration.json").read_bytes())
    decay = found["parameters"]["fill_decay"]
    assert abs(decay["value"] - BookConfig().fill_decay) < 4 * decay["error"]
    assert CliRunner().invoke(app, ["synthetic-book", str(folder), "--feed", feed, "--seconds", "1200"]).exit_code == 0
    assert {name: (folder / name).read_bytes() for name in raw} == raw  # the same seed, the same bytes
