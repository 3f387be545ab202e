"""Independent random streams, one per (component, key), and the distributions drawn from them.

Every stream is named by text, so adding an instrument or a component leaves all the other streams as they were.
Normals and Student variates are made from the uniform doubles of PCG64 by closed forms: the raw bit stream of
PCG64 is fixed by its authors (O'Neill 2014), while numpy reserves the right to change its own samplers.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

FloatArray = NDArray[np.float64]


def stream(seed: int, component: str, key: str = "") -> np.random.Generator:
    """Generator of the random stream called `component`/`key` of the exchange `seed`."""
    words = np.random.SeedSequence([seed, crc32(component.encode()), crc32(key.encode())])
    return np.random.Generator(np.random.PCG64(words))


def uniforms(rng: np.random.Generator, shape: int | tuple[int, ...]) -> FloatArray:
    """Uniform variates in the open interval (0, 1)."""
    return rng.random(shape) + 2.0**-54


def normals(rng: np.random.Generator, shape: int | tuple[int, ...]) -> FloatArray:
    """Standard normal variates, by inversion."""
    return np.asarray(ndtri(np.minimum(uniforms(rng, shape), 1.0 - 2.0**-53)))


def students(rng: np.random.Generator, shape: int | tuple[int, ...], degrees: int) -> FloatArray:
    """Student-t variates scaled to unit variance; `degrees` of freedom even and at least 4.

    A chi-square with an even number of degrees is -2 times a sum of logarithms of uniforms, so the ratio of a
    normal to its root needs no rejection sampler.
    """
    chi_square = np.zeros(shape)
    for _ in range(degrees // 2):
        chi_square -= 2.0 * np.log(uniforms(rng, shape))
    return np.asarray(normals(rng, shape) * np.sqrt((degrees - 2) / chi_square))


def autoregression(shocks: FloatArray, memory: float) -> FloatArray:
    """Stationary AR(1) with unit variance along axis 0, driven by unit-variance `shocks`."""
    path = np.empty_like(shocks)
    scale = np.sqrt(1.0 - memory**2)
    path[0] = shocks[0]
    for row in range(1, len(shocks)):
        path[row] = memory * path[row - 1] + scale * shocks[row]
    return path
