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
    from mfg_core.certificate import Certificate as Certificate
    from mfg_core.certificate import Status as Status
    from mfg_core.daily.calibration import ExecutionCalibration as ExecutionCalibration
    from mfg_core.daily.calibration import calibrate_execution as calibrate_execution
    from mfg_core.daily.costs import FillCost as FillCost
    from mfg_core.daily.costs import TradingCosts as TradingCosts
    from mfg_core.daily.costs import urgency_from_risk_aversion as urgency_from_risk_aversion
    from mfg_core.daily.execution_prior import Estimate as Estimate
    from mfg_core.daily.execution_prior import ExecutionPrior as ExecutionPrior
    from mfg_core.errors import EdgeMassWarning as EdgeMassWarning
    from mfg_core.errors import SolveError as SolveError
    from mfg_core.family.epidemic import EpidemicGame as EpidemicGame
    from mfg_core.family.finite_state import FiniteStateEquilibrium as FiniteStateEquilibrium
    from mfg_core.family.finite_state import FiniteStateGame as FiniteStateGame
    from mfg_core.family.finite_state import JointGame as JointGame
    from mfg_core.family.finite_state import KinkedGame as KinkedGame
    from mfg_core.family.finite_state import RiskSensitiveGame as RiskSensitiveGame
    from mfg_core.intraday.intensity_covariates import Covariate as Covariate
    from mfg_core.intraday.intensity_exposure import BookPath as BookPath
    from mfg_core.intraday.intensity_exposure import Trades as Trades
    from mfg_core.intraday.intensity_fit import IntensityFit as IntensityFit
    from mfg_core.intraday.intensity_fit import calibrate_intensity as calibrate_intensity
    from mfg_core.intraday.intensity_lifetimes import RestingOrders as RestingOrders
    from mfg_core.intraday.intensity_lifetimes import calibrate_intensity_events as calibrate_intensity_events
    from mfg_core.intraday.intensity_quality import IntensityQuality as IntensityQuality
    from mfg_core.intraday.intensity_targets import IntensityTargets as IntensityTargets
    from mfg_core.intraday.intensity_targets import game_with_spread as game_with_spread
    from mfg_core.intraday.intensity_targets import intensity_from_targets as intensity_from_targets
    from mfg_core.intraday.intraday_volatility import IntradayVolatility as IntradayVolatility
    from mfg_core.intraday.inventory_penalties import running_penalty_from_risk as running_penalty_from_risk
    from mfg_core.intraday.inventory_penalties import (
        terminal_penalty_from_liquidation as terminal_penalty_from_liquidation,
    )
    from mfg_core.intraday.mark_outs import MarkOuts as MarkOuts
    from mfg_core.intraday.market_calibration import MarketCalibration as MarketCalibration
    from mfg_core.intraday.market_calibration import calibrate_market_making as calibrate_market_making
    from mfg_core.iteration.fictitious_play import FictitiousPlay as FictitiousPlay
    from mfg_core.iteration.fixed_point import Anderson as Anderson
    from mfg_core.iteration.fixed_point import Picard as Picard
    from mfg_core.iteration.newton_krylov import NewtonKrylov as NewtonKrylov
    from mfg_core.library.policy_grid import PolicyGrid as PolicyGrid
    from mfg_core.linear_quadratic.clearing import ClearingEquilibrium as ClearingEquilibrium
    from mfg_core.linear_quadratic.clearing import ClearingGame as ClearingGame
    from mfg_core.linear_quadratic.clearing import ClearingPolicy as ClearingPolicy
    from mfg_core.linear_quadratic.execution import ExecutionEquilibrium as ExecutionEquilibrium
    from mfg_core.linear_quadratic.execution import ExecutionGame as ExecutionGame
    from mfg_core.linear_quadratic.execution import ExecutionPolicy as ExecutionPolicy
    from mfg_core.linear_quadratic.execution import Shooting as Shooting
    from mfg_core.market.competition import OutsideOption as OutsideOption
    from mfg_core.market.competition import Share as Share
    from mfg_core.market.entry_exit import EntryExitGame as EntryExitGame
    from mfg_core.market.entry_exit_policy import EntryExitEquilibrium as EntryExitEquilibrium
    from mfg_core.market.entry_exit_policy import EntryExitPolicy as EntryExitPolicy
    from mfg_core.market.intensity_shapes import Exponential as Exponential
    from mfg_core.market.intensity_shapes import IntensityShape as IntensityShape
    from mfg_core.market.intensity_shapes import Logistic as Logistic
    from mfg_core.market.intensity_shapes import Power as Power
    from mfg_core.market.maker_types import MixedMarketMakingEquilibrium as MixedMarketMakingEquilibrium
    from mfg_core.market.maker_types import MixedMarketMakingGame as MixedMarketMakingGame
    from mfg_core.market.market_making import MarketMakingEquilibrium as MarketMakingEquilibrium
    from mfg_core.market.market_making import MarketMakingGame as MarketMakingGame
    from mfg_core.market.market_making import MarketMakingPolicy as MarketMakingPolicy
    from mfg_core.market.regime_paths import RegimeMeanError as RegimeMeanError
    from mfg_core.market.regime_paths import regime_mean_error as regime_mean_error
    from mfg_core.market.regime_policy import RegimePolicy as RegimePolicy
    from mfg_core.market.regime_policy import RegimeSwitchingEquilibrium as RegimeSwitchingEquilibrium
    from mfg_core.market.regimes import RegimeSwitchingGame as RegimeSwitchingGame
    from mfg_core.policy_table import policy_arrays as policy_arrays
    from mfg_core.policy_table import policy_metadata as policy_metadata
    from mfg_core.policy_table import rebuild_policies as rebuild_policies
    from mfg_core.policy_table import rebuild_policy as rebuild_policy
    from mfg_core.solve import solve_mfg as solve_mfg
    from mfg_core.study.bands import Bands as Bands
    from mfg_core.study.bands import sample_bands as sample_bands
    from mfg_core.study.bands import value_bands as value_bands
    from mfg_core.study.batch import BatchResult as BatchResult
    from mfg_core.study.batch import QuoteTable as QuoteTable
    from mfg_core.study.batch import solve_many as solve_many
    from mfg_core.study.batch import solve_table as solve_table
    from mfg_core.study.equilibrium_search import EquilibriumSearch as EquilibriumSearch
    from mfg_core.study.equilibrium_search import find_equilibria as find_equilibria
    from mfg_core.study.many_makers import MakerSimulation as MakerSimulation
    from mfg_core.study.many_makers import simulate_makers as simulate_makers
    from mfg_core.study.many_makers_study import ConvergenceStudy as ConvergenceStudy
    from mfg_core.study.many_makers_study import DeviationGain as DeviationGain
    from mfg_core.study.many_makers_study import convergence_study as convergence_study
    from mfg_core.study.many_makers_study import deviation_gain as deviation_gain
    from mfg_core.study.sensitivity import Sensitivities as Sensitivities
    from mfg_core.study.sensitivity import sensitivities as sensitivities
    from mfg_core.study.stability import contraction_rate as contraction_rate
    from mfg_core.study.stability import leading_eigenvalues as leading_eigenvalues
    from mfg_core.study.stability_scan import scan_stability as scan_stability

_HOME = {
    "scan_stability": "study.stability_scan",
    "Bands": "study.bands",
    "sample_bands": "study.bands",
    "value_bands": "study.bands",
    "Sensitivities": "study.sensitivity",
    "sensitivities": "study.sensitivity",
    "QuoteTable": "study.batch",
    "BatchResult": "study.batch",
    "solve_table": "study.batch",
    "solve_many": "study.batch",
    "RiskSensitiveGame": "family.finite_state",
    "KinkedGame": "family.finite_state",
    "JointGame": "family.finite_state",
    "IntensityShape": "market.intensity_shapes",
    "Power": "market.intensity_shapes",
    "Logistic": "market.intensity_shapes",
    "Exponential": "market.intensity_shapes",
    "FiniteStateGame": "family.finite_state",
    "FiniteStateEquilibrium": "family.finite_state",
    "EpidemicGame": "family.epidemic",
    "EquilibriumSearch": "study.equilibrium_search",
    "find_equilibria": "study.equilibrium_search",
    "leading_eigenvalues": "study.stability",
    "contraction_rate": "study.stability",
    "simulate_makers": "study.many_makers",
    "deviation_gain": "study.many_makers_study",
    "convergence_study": "study.many_makers_study",
    "PolicyGrid": "library.policy_grid",
    "MakerSimulation": "study.many_makers",
    "DeviationGain": "study.many_makers_study",
    "ConvergenceStudy": "study.many_makers_study",
    "MarketMakingGame": "market.market_making",
    "MarketMakingEquilibrium": "market.market_making",
    "MarketMakingPolicy": "market.market_making",
    "ExecutionGame": "linear_quadratic.execution",
    "ExecutionEquilibrium": "linear_quadratic.execution",
    "ExecutionPolicy": "linear_quadratic.execution",
    "Shooting": "linear_quadratic.execution",
    "ClearingGame": "linear_quadratic.clearing",
    "ClearingEquilibrium": "linear_quadratic.clearing",
    "ClearingPolicy": "linear_quadratic.clearing",
    "OutsideOption": "market.competition",
    "Share": "market.competition",
    "solve_mfg": "solve",
    "Picard": "iteration.fixed_point",
    "Anderson": "iteration.fixed_point",
    "FictitiousPlay": "iteration.fictitious_play",
    "NewtonKrylov": "iteration.newton_krylov",
    "Certificate": "certificate",
    "Status": "certificate",
    "SolveError": "errors",
    "EdgeMassWarning": "errors",
    "policy_arrays": "policy_table",
    "policy_metadata": "policy_table",
    "rebuild_policies": "policy_table",
    "rebuild_policy": "policy_table",
    "TradingCosts": "daily.costs",
    "FillCost": "daily.costs",
    "calibrate_execution": "daily.calibration",
    "ExecutionCalibration": "daily.calibration",
    "ExecutionPrior": "daily.execution_prior",
    "Estimate": "daily.execution_prior",
    "urgency_from_risk_aversion": "daily.costs",
    "EntryExitEquilibrium": "market.entry_exit_policy",
    "EntryExitGame": "market.entry_exit",
    "EntryExitPolicy": "market.entry_exit_policy",
    "MixedMarketMakingEquilibrium": "market.maker_types",
    "MixedMarketMakingGame": "market.maker_types",
    "RegimePolicy": "market.regime_policy",
    "RegimeSwitchingEquilibrium": "market.regime_policy",
    "RegimeSwitchingGame": "market.regimes",
    "RegimeMeanError": "market.regime_paths",
    "regime_mean_error": "market.regime_paths",
    "BookPath": "intraday.intensity_exposure",
    "Trades": "intraday.intensity_exposure",
    "RestingOrders": "intraday.intensity_lifetimes",
    "calibrate_intensity_events": "intraday.intensity_lifetimes",
    "IntensityFit": "intraday.intensity_fit",
    "calibrate_intensity": "intraday.intensity_fit",
    "Covariate": "intraday.intensity_covariates",
    "IntensityQuality": "intraday.intensity_quality",
    "IntensityTargets": "intraday.intensity_targets",
    "intensity_from_targets": "intraday.intensity_targets",
    "game_with_spread": "intraday.intensity_targets",
    "MarkOuts": "intraday.mark_outs",
    "IntradayVolatility": "intraday.intraday_volatility",
    "MarketCalibration": "intraday.market_calibration",
    "calibrate_market_making": "intraday.market_calibration",
    "running_penalty_from_risk": "intraday.inventory_penalties",
    "terminal_penalty_from_liquidation": "intraday.inventory_penalties",
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
    "JointGame",
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
    "rebuild_policies",
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
