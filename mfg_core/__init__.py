"""Mean-field games of trading: a game, a method and a tolerance in; an equilibrium with its certificate out.

    game = ExecutionGame(...) or MarketMakingGame(...) or ClearingGame(...)
    equilibrium = solve_mfg(game, rtol=1e-9, atol=1e-12)
    equilibrium.policy, .density, .mean_field, .certificate

Arrays in, arrays out: no input or output, no pandas. Calibration and the cost object live here too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mfg_core.bands import Bands as Bands
    from mfg_core.bands import sample_bands as sample_bands
    from mfg_core.bands import value_bands as value_bands
    from mfg_core.batch import BatchResult as BatchResult
    from mfg_core.batch import QuoteTable as QuoteTable
    from mfg_core.batch import solve_many as solve_many
    from mfg_core.batch import solve_table as solve_table
    from mfg_core.calibration import ExecutionCalibration as ExecutionCalibration
    from mfg_core.calibration import calibrate_execution as calibrate_execution
    from mfg_core.certificate import Certificate as Certificate
    from mfg_core.certificate import Status as Status
    from mfg_core.clearing import ClearingEquilibrium as ClearingEquilibrium
    from mfg_core.clearing import ClearingGame as ClearingGame
    from mfg_core.clearing import ClearingPolicy as ClearingPolicy
    from mfg_core.competition import OutsideOption as OutsideOption
    from mfg_core.competition import Share as Share
    from mfg_core.costs import FillCost as FillCost
    from mfg_core.costs import TradingCosts as TradingCosts
    from mfg_core.costs import urgency_from_risk_aversion as urgency_from_risk_aversion
    from mfg_core.entry_exit import EntryExitGame as EntryExitGame
    from mfg_core.entry_exit_policy import EntryExitEquilibrium as EntryExitEquilibrium
    from mfg_core.entry_exit_policy import EntryExitPolicy as EntryExitPolicy
    from mfg_core.epidemic import EpidemicGame as EpidemicGame
    from mfg_core.equilibrium_search import EquilibriumSearch as EquilibriumSearch
    from mfg_core.equilibrium_search import find_equilibria as find_equilibria
    from mfg_core.errors import EdgeMassWarning as EdgeMassWarning
    from mfg_core.errors import SolveError as SolveError
    from mfg_core.execution import ExecutionEquilibrium as ExecutionEquilibrium
    from mfg_core.execution import ExecutionGame as ExecutionGame
    from mfg_core.execution import ExecutionPolicy as ExecutionPolicy
    from mfg_core.execution import Shooting as Shooting
    from mfg_core.execution_prior import Estimate as Estimate
    from mfg_core.execution_prior import ExecutionPrior as ExecutionPrior
    from mfg_core.fictitious_play import FictitiousPlay as FictitiousPlay
    from mfg_core.finite_state import FiniteStateEquilibrium as FiniteStateEquilibrium
    from mfg_core.finite_state import FiniteStateGame as FiniteStateGame
    from mfg_core.finite_state import KinkedGame as KinkedGame
    from mfg_core.finite_state import RiskSensitiveGame as RiskSensitiveGame
    from mfg_core.fixed_point import Anderson as Anderson
    from mfg_core.fixed_point import Picard as Picard
    from mfg_core.intensity_covariates import Covariate as Covariate
    from mfg_core.intensity_exposure import BookPath as BookPath
    from mfg_core.intensity_exposure import Trades as Trades
    from mfg_core.intensity_fit import IntensityFit as IntensityFit
    from mfg_core.intensity_fit import calibrate_intensity as calibrate_intensity
    from mfg_core.intensity_lifetimes import RestingOrders as RestingOrders
    from mfg_core.intensity_lifetimes import calibrate_intensity_events as calibrate_intensity_events
    from mfg_core.intensity_quality import IntensityQuality as IntensityQuality
    from mfg_core.intensity_shapes import Exponential as Exponential
    from mfg_core.intensity_shapes import IntensityShape as IntensityShape
    from mfg_core.intensity_shapes import Logistic as Logistic
    from mfg_core.intensity_shapes import Power as Power
    from mfg_core.intensity_targets import IntensityTargets as IntensityTargets
    from mfg_core.intensity_targets import game_with_spread as game_with_spread
    from mfg_core.intensity_targets import intensity_from_targets as intensity_from_targets
    from mfg_core.intraday_volatility import IntradayVolatility as IntradayVolatility
    from mfg_core.inventory_penalties import running_penalty_from_risk as running_penalty_from_risk
    from mfg_core.inventory_penalties import terminal_penalty_from_liquidation as terminal_penalty_from_liquidation
    from mfg_core.maker_types import MixedMarketMakingEquilibrium as MixedMarketMakingEquilibrium
    from mfg_core.maker_types import MixedMarketMakingGame as MixedMarketMakingGame
    from mfg_core.many_makers import MakerSimulation as MakerSimulation
    from mfg_core.many_makers import simulate_makers as simulate_makers
    from mfg_core.many_makers_study import ConvergenceStudy as ConvergenceStudy
    from mfg_core.many_makers_study import DeviationGain as DeviationGain
    from mfg_core.many_makers_study import convergence_study as convergence_study
    from mfg_core.many_makers_study import deviation_gain as deviation_gain
    from mfg_core.mark_outs import MarkOuts as MarkOuts
    from mfg_core.market_calibration import MarketCalibration as MarketCalibration
    from mfg_core.market_calibration import calibrate_market_making as calibrate_market_making
    from mfg_core.market_making import MarketMakingEquilibrium as MarketMakingEquilibrium
    from mfg_core.market_making import MarketMakingGame as MarketMakingGame
    from mfg_core.market_making import MarketMakingPolicy as MarketMakingPolicy
    from mfg_core.newton_krylov import NewtonKrylov as NewtonKrylov
    from mfg_core.policy_grid import PolicyGrid as PolicyGrid
    from mfg_core.policy_table import policy_arrays as policy_arrays
    from mfg_core.policy_table import policy_metadata as policy_metadata
    from mfg_core.policy_table import rebuild_policy as rebuild_policy
    from mfg_core.regime_paths import RegimeMeanError as RegimeMeanError
    from mfg_core.regime_paths import regime_mean_error as regime_mean_error
    from mfg_core.regime_policy import RegimePolicy as RegimePolicy
    from mfg_core.regime_policy import RegimeSwitchingEquilibrium as RegimeSwitchingEquilibrium
    from mfg_core.regimes import RegimeSwitchingGame as RegimeSwitchingGame
    from mfg_core.sensitivity import Sensitivities as Sensitivities
    from mfg_core.sensitivity import sensitivities as sensitivities
    from mfg_core.solve import solve_mfg as solve_mfg
    from mfg_core.stability import contraction_rate as contraction_rate
    from mfg_core.stability import leading_eigenvalues as leading_eigenvalues
    from mfg_core.stability_scan import scan_stability as scan_stability

_HOME = {
    "scan_stability": "stability_scan",
    "Bands": "bands",
    "sample_bands": "bands",
    "value_bands": "bands",
    "Sensitivities": "sensitivity",
    "sensitivities": "sensitivity",
    "QuoteTable": "batch",
    "BatchResult": "batch",
    "solve_table": "batch",
    "solve_many": "batch",
    "RiskSensitiveGame": "finite_state",
    "KinkedGame": "finite_state",
    "IntensityShape": "intensity_shapes",
    "Power": "intensity_shapes",
    "Logistic": "intensity_shapes",
    "Exponential": "intensity_shapes",
    "FiniteStateGame": "finite_state",
    "FiniteStateEquilibrium": "finite_state",
    "EpidemicGame": "epidemic",
    "EquilibriumSearch": "equilibrium_search",
    "find_equilibria": "equilibrium_search",
    "leading_eigenvalues": "stability",
    "contraction_rate": "stability",
    "simulate_makers": "many_makers",
    "deviation_gain": "many_makers_study",
    "convergence_study": "many_makers_study",
    "PolicyGrid": "policy_grid",
    "MakerSimulation": "many_makers",
    "DeviationGain": "many_makers_study",
    "ConvergenceStudy": "many_makers_study",
    "MarketMakingGame": "market_making",
    "MarketMakingEquilibrium": "market_making",
    "MarketMakingPolicy": "market_making",
    "ExecutionGame": "execution",
    "ExecutionEquilibrium": "execution",
    "ExecutionPolicy": "execution",
    "Shooting": "execution",
    "ClearingGame": "clearing",
    "ClearingEquilibrium": "clearing",
    "ClearingPolicy": "clearing",
    "OutsideOption": "competition",
    "Share": "competition",
    "solve_mfg": "solve",
    "Picard": "fixed_point",
    "Anderson": "fixed_point",
    "FictitiousPlay": "fictitious_play",
    "NewtonKrylov": "newton_krylov",
    "Certificate": "certificate",
    "Status": "certificate",
    "SolveError": "errors",
    "EdgeMassWarning": "errors",
    "policy_arrays": "policy_table",
    "policy_metadata": "policy_table",
    "rebuild_policy": "policy_table",
    "TradingCosts": "costs",
    "FillCost": "costs",
    "calibrate_execution": "calibration",
    "ExecutionCalibration": "calibration",
    "ExecutionPrior": "execution_prior",
    "Estimate": "execution_prior",
    "urgency_from_risk_aversion": "costs",
    "EntryExitEquilibrium": "entry_exit_policy",
    "EntryExitGame": "entry_exit",
    "EntryExitPolicy": "entry_exit_policy",
    "MixedMarketMakingEquilibrium": "maker_types",
    "MixedMarketMakingGame": "maker_types",
    "RegimePolicy": "regime_policy",
    "RegimeSwitchingEquilibrium": "regime_policy",
    "RegimeSwitchingGame": "regimes",
    "RegimeMeanError": "regime_paths",
    "regime_mean_error": "regime_paths",
    "BookPath": "intensity_exposure",
    "Trades": "intensity_exposure",
    "RestingOrders": "intensity_lifetimes",
    "calibrate_intensity_events": "intensity_lifetimes",
    "IntensityFit": "intensity_fit",
    "calibrate_intensity": "intensity_fit",
    "Covariate": "intensity_covariates",
    "IntensityQuality": "intensity_quality",
    "IntensityTargets": "intensity_targets",
    "intensity_from_targets": "intensity_targets",
    "game_with_spread": "intensity_targets",
    "MarkOuts": "mark_outs",
    "IntradayVolatility": "intraday_volatility",
    "MarketCalibration": "market_calibration",
    "calibrate_market_making": "market_calibration",
    "running_penalty_from_risk": "inventory_penalties",
    "terminal_penalty_from_liquidation": "inventory_penalties",
}

__all__ = [
    "Anderson",
    "Bands",
    "BatchResult",
    "BookPath",
    "Certificate",
    "ClearingEquilibrium",
    "ClearingGame",
    "ClearingPolicy",
    "ConvergenceStudy",
    "Covariate",
    "DeviationGain",
    "EdgeMassWarning",
    "EntryExitEquilibrium",
    "EntryExitGame",
    "EntryExitPolicy",
    "EpidemicGame",
    "EquilibriumSearch",
    "Estimate",
    "ExecutionCalibration",
    "ExecutionEquilibrium",
    "ExecutionGame",
    "ExecutionPolicy",
    "ExecutionPrior",
    "Exponential",
    "FictitiousPlay",
    "FillCost",
    "FiniteStateEquilibrium",
    "FiniteStateGame",
    "IntensityFit",
    "IntensityQuality",
    "IntensityShape",
    "IntensityTargets",
    "IntradayVolatility",
    "KinkedGame",
    "Logistic",
    "MakerSimulation",
    "MarkOuts",
    "MarketCalibration",
    "MarketMakingEquilibrium",
    "MarketMakingGame",
    "MarketMakingPolicy",
    "MixedMarketMakingEquilibrium",
    "MixedMarketMakingGame",
    "NewtonKrylov",
    "OutsideOption",
    "Picard",
    "PolicyGrid",
    "Power",
    "QuoteTable",
    "RegimeMeanError",
    "RegimePolicy",
    "RegimeSwitchingEquilibrium",
    "RegimeSwitchingGame",
    "RestingOrders",
    "RiskSensitiveGame",
    "Sensitivities",
    "Share",
    "Shooting",
    "SolveError",
    "Status",
    "Trades",
    "TradingCosts",
    "calibrate_execution",
    "calibrate_intensity",
    "calibrate_intensity_events",
    "calibrate_market_making",
    "contraction_rate",
    "convergence_study",
    "deviation_gain",
    "find_equilibria",
    "game_with_spread",
    "intensity_from_targets",
    "leading_eigenvalues",
    "policy_arrays",
    "policy_metadata",
    "rebuild_policy",
    "regime_mean_error",
    "running_penalty_from_risk",
    "sample_bands",
    "scan_stability",
    "sensitivities",
    "simulate_makers",
    "solve_many",
    "solve_mfg",
    "solve_table",
    "terminal_penalty_from_liquidation",
    "urgency_from_risk_aversion",
    "value_bands",
]


def __getattr__(name: str) -> Any:
    """Import a public name's module when it is first used, so that `import mfg_core` stays cheap."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
