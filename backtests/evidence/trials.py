"""How many independent trials correlated ones amount to: alternatives to the count, never the default.

Deflating for fewer trials than were made flatters unless the trials are known to be near copies, and the estimates
below differ by a factor. The framework deflates for the full count; a report that uses one of these says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EffectiveTrials:
    """Three estimates of the number of independent trials among `trials`.

    Attributes
    ----------
    trials : int
        The count itself: what to deflate for.
    average_correlation : float
        r + (1 - r) N with r the mean correlation of the pairs, not below 0 (Bailey & Lopez de Prado 2014, appendix).
    effective_rank : float
        exp of the entropy of the correlation matrix's normalised eigenvalues (Roy & Vetterli 2007).
    clusters : int
        Groups found by average linkage of the distances sqrt((1 - correlation) / 2), the number of groups with the
        largest mean over standard deviation of the silhouettes (after Lopez de Prado & Lewis 2019, who use k-means).
        From 2 to N - 1 by construction; 1 where the matrix has fewer than 3 trials.
    """

    trials: int
    average_correlation: float
    effective_rank: float
    clusters: int


def effective_trials(returns: ArrayLike) -> EffectiveTrials:
    """Estimates of the independent trials among the N columns of (T, N) returns.

    Raises
    ------
    ValueError
        When there are fewer than 2 columns, or one without dispersion.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal((1000, 3))
    >>> copies = np.repeat(noise, 4, axis=1) + 1e-3 * np.random.default_rng(1).standard_normal((1000, 12))
    >>> found = effective_trials(copies)
    >>> found.trials, round(found.effective_rank, 1), found.clusters
    (12, 3.0, 3)
    """
    matrix = np.asarray(returns, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 2 or not np.isfinite(matrix).all():
        raise ValueError(f"returns must be finite (sessions, trials) with at least 2 trials; were {matrix.shape}")
    if (np.ptp(matrix, axis=0) <= 1e-14 * np.abs(matrix).max()).any():
        raise ValueError("returns must disperse in every column; a trial that never trades has no correlation")
    correlation = np.clip(np.corrcoef(matrix, rowvar=False), -1.0, 1.0)
    count = matrix.shape[1]
    mean = max(0.0, float((correlation.sum() - count) / (count * (count - 1))))
    share = np.clip(np.linalg.eigvalsh(correlation), 0.0, None) / count
    share = share[share > 0.0]
    return EffectiveTrials(
        trials=count,
        average_correlation=mean + (1.0 - mean) * count,
        effective_rank=float(np.exp(-np.sum(share * np.log(share)))),
        clusters=_clusters(np.sqrt((1.0 - correlation) / 2.0)),
    )


def _clusters(distance: Floats) -> int:
    """Number of groups whose silhouettes have the largest mean over standard deviation."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    count = distance.shape[0]
    if count < 3:
        return 1
    tree = linkage(squareform(distance, checks=False), "average")
    best, quality = 1, -np.inf
    for groups in range(2, count):
        labels = fcluster(tree, groups, "maxclust") - 1
        found = silhouettes(distance, labels)
        score = float(found.mean() / max(float(found.std()), 1e-12))
        if score > quality:
            best, quality = int(labels.max()) + 1, score
    return best


def silhouettes(distance: Floats, labels: NDArray[np.integer]) -> Floats:
    """(N,) silhouettes (b - a) / max(a, b): a the mean distance to the own group, b to the nearest other one.

    0 for a group of one (Rousseeuw 1987).
    """
    member = (labels[:, None] == np.unique(labels)).astype(np.float64)
    sizes = member.sum(axis=0)
    totals = distance @ member
    own = np.argmax(member, axis=1)
    rows = np.arange(labels.size)
    inside = totals[rows, own] / np.maximum(sizes[own] - 1.0, 1.0)
    others = totals / sizes
    others[rows, own] = np.inf
    outside = others.min(axis=1)
    widest = np.maximum(inside, outside)
    values = np.where(widest > 0.0, (outside - inside) / np.where(widest > 0.0, widest, 1.0), 0.0)
    return np.asarray(np.where(sizes[own] > 1.0, values, 0.0))
