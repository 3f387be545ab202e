"""Compiled estimate of what the crowd's skew becomes when everybody keeps replying (arrays in, output last)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def carry_skew(
    times: Floats, value: Floats, density: Floats, path: Floats, image: Floats, log_arrivals: Floats, k: float,
    carried: Floats,
) -> None:  # fmt: skip
    """Fill `carried` (2, nodes) with the image `image` of `path`, its change of the skew carried back in time.

    At competition 1 a shift b(t) of the crowd's asks and -b(t) of its bids is passed on: replies shift by the mean of
    b over the time for which an inventory is remembered, so that a residual s of the skew moves back in time by no more
    than that in a sweep. If memory fades at the rate r(t), the mean over the makers of minus the slope of an
    inventory's drift, the shift that would be passed on unchanged differs by s(t) plus the integral of r s from t to T.

    `log_arrivals` (2,) are the logarithms of A h, such that fills come at the rate A h exp(k (V(x') - V(x) + path)).
    """
    nodes, n = value.shape
    later_rate = later_skew = back = 0.0
    for node in range(nodes - 1, -1, -1):
        ask = math.exp(log_arrivals[0] + k * path[0, node])
        bid = math.exp(log_arrivals[1] + k * path[1, node])
        asking, bidding = 1.0 - density[node, 0], 1.0 - density[node, n - 1]
        rate = 0.0
        last = 0.0
        for i in range(n):
            drift = 0.0
            if i > 0:
                drift -= ask * math.exp(k * (value[node, i - 1] - value[node, i]))
            if i < n - 1:
                drift += bid * math.exp(k * (value[node, i + 1] - value[node, i]))
            if i > 0:
                weight = density[node, i] / max(asking, 1e-300) + density[node, i - 1] / max(bidding, 1e-300)
                rate += 0.5 * weight * max(last - drift, 0.0)
            last = drift
        skew = 0.5 * (image[0, node] - path[0, node] - image[1, node] + path[1, node])
        if node < nodes - 1:
            back += 0.5 * (times[node + 1] - times[node]) * (rate * skew + later_rate * later_skew)
        carried[0, node] = image[0, node] + back
        carried[1, node] = image[1, node] - back
        later_rate, later_skew = rate, skew
