"""Pods and executors: a view of the past in, targets out, and how the targets are traded.

view -> pod.fit -> decider.decide(view) -> Targets -> (backtests: limits, parent orders) -> executor -> child orders
"""

from strategies.equal_weight import EqualWeight
from strategies.execution import Executor, Immediate, MeanFieldSchedule, Twap, mean_field_schedule
from strategies.low_volatility import LowVolatility
from strategies.momentum import TimeSeriesMomentum
from strategies.pod import Decider, Pod, Targets, parameter_grid
from strategies.reversal import ShortTermReversal

__all__ = [
    "Decider",
    "EqualWeight",
    "Executor",
    "Immediate",
    "LowVolatility",
    "MeanFieldSchedule",
    "Pod",
    "ShortTermReversal",
    "Targets",
    "TimeSeriesMomentum",
    "Twap",
    "mean_field_schedule",
    "parameter_grid",
]
