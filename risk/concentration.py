"""How much of a book stands in few names: Herfindahl index, effective names, issuers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def herfindahl(weights: ArrayLike) -> float:
    """sum of squared shares of the gross book, in [1/N, 1]; 0 for an empty book.

    `weights` (N,) are position values or weights, signed; their sizes relative to their sum count. NaN is refused.
    """
    shares = _gross_shares(weights)
    return float(shares @ shares)


def effective_names(weights: ArrayLike) -> float:
    """1 / herfindahl: the number of equal positions that would be as concentrated; 0 for an empty book."""
    index = herfindahl(weights)
    return 1.0 / index if index > 0 else 0.0


def normalised_herfindahl(weights: ArrayLike) -> float:
    """(HHI - 1/N)/(1 - 1/N), 0 for N equal positions and 1 for a single one; N is the length of `weights`."""
    count = np.asarray(weights).size
    index = herfindahl(weights)
    if index == 0.0:
        return 0.0
    return 1.0 if count == 1 else (index - 1.0 / count) / (1.0 - 1.0 / count)


def group_exposures(weights: ArrayLike, groups: ArrayLike) -> NDArray[np.float64]:
    """Gross exposure (G,) of each group 0..G-1, the sum of |weights| of its members.

    Parameters
    ----------
    weights : (N,) float64
        Signed weights. Long and short in one issuer do not offset each other (a common and a preferred share of the
        same company need not move together).
    groups : (N,) int
        Group of each instrument, 0, 1, ...; `issuer_groups` makes them from tickers.
    """
    sizes = np.abs(_finite(weights))
    members = np.asarray(groups)
    if members.shape != sizes.shape or not np.issubdtype(members.dtype, np.integer):
        raise ValueError(f"groups must be integers of the shape of weights, {sizes.shape}; was {members.shape}")
    if members.size and members.min() < 0:
        raise ValueError(f"groups must not be negative; was {members.min()}")
    return np.bincount(members, weights=sizes).astype(np.float64)


def largest_group(weights: ArrayLike, groups: ArrayLike) -> tuple[int, float]:
    """Group with the largest gross exposure (the first of equals) and that exposure; (-1, 0.0) for an empty book."""
    exposures = group_exposures(weights, groups)
    if exposures.size == 0 or exposures.max() == 0.0:
        return -1, 0.0
    group = int(np.argmax(exposures))
    return group, float(exposures[group])


def issuer_groups(tickers: tuple[str, ...] | list[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Group number (N,) of each ticker's issuer and the issuers' codes, sorted: PETR3 and PETR4 are both PETR.

    The issuer is the first four characters of a Brazilian ticker.
    """
    codes = sorted({ticker[:4] for ticker in tickers})
    place = {code: number for number, code in enumerate(codes)}
    return np.array([place[ticker[:4]] for ticker in tickers], dtype=np.int64), tuple(codes)


def _finite(weights: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"weights must be one-dimensional; was of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"weights must be finite; was not at instrument {int(np.argmin(np.isfinite(values)))}")
    return values


def _gross_shares(weights: ArrayLike) -> NDArray[np.float64]:
    sizes = np.abs(_finite(weights))
    largest = sizes.max(initial=0.0)
    if largest == 0.0:
        return sizes
    # Divided by the largest first, so that neither tiny nor huge values under- or overflow in the sum.
    sizes = sizes / largest
    return np.asarray(sizes / sizes.sum())
