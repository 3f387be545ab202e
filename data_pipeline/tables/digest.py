"""A number for a set of rows that says whether two stores hold the same ones, however they are cut and ordered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.tables import kernels
from data_pipeline.tables.state import DIGEST_BITS

_BLOCK = 65_536


def row_digest(rows: pa.Table) -> int:
    """Sum over the rows of a 128-bit hash of each, modulo 2^128: adding row sets adds their digests.

    It depends on the values, their columns' order and the number of rows; not on the rows' order, nor on chunks.
    Made to tell equal content from different content by accident of any kind, not against somebody who builds rows
    on purpose: the parts' SHA-256 are for that.
    """
    total = 0
    for batch in rows.combine_chunks().to_batches(max_chunksize=_BLOCK):
        total += _batch_digest(batch)
    return total % (1 << DIGEST_BITS)


def _batch_digest(batch: pa.RecordBatch) -> int:
    lane_a = np.zeros(batch.num_rows, dtype=np.uint64)
    lane_b = np.zeros(batch.num_rows, dtype=np.uint64)
    for column in batch.columns:
        valid = _valid(column)
        if pa.types.is_string(column.type) or pa.types.is_list(column.type):
            starts, data = _bytes(column)
            kernels.fold_bytes(starts, data, valid, lane_a, lane_b)
        else:
            kernels.fold_numbers(_patterns(column), valid, lane_a, lane_b)
    sums = np.empty(2, dtype=np.uint64)
    kernels.sum_lanes(lane_a, lane_b, sums)
    return (int(sums[0]) << 64) + int(sums[1])


def _valid(column: pa.Array) -> NDArray[np.bool_]:
    if not column.null_count:
        return np.ones(len(column), dtype=np.bool_)
    return np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False))


def _patterns(column: pa.Array) -> NDArray[np.uint64]:
    """The values' bits, widened to 64; integers by their value."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    filled = pc.fill_null(column, pa.scalar(0, column.type)) if column.null_count else column
    values: NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    if values.dtype == np.float64:
        return np.ascontiguousarray(values).view(np.uint64)
    return values.astype(np.int64 if values.dtype.kind == "i" else np.uint64).view(np.uint64)


def _bytes(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Where each row's bytes start, and all of them: the text in UTF-8, or the numbers of a list."""
    if pa.types.is_string(column.type):
        _, offsets, text = column.buffers()
        starts = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
        data = np.frombuffer(text, dtype=np.uint8) if text is not None else np.empty(0, dtype=np.uint8)
        return starts.astype(np.int64), data
    values = column.values.to_numpy(zero_copy_only=False)
    starts = column.offsets.to_numpy().astype(np.int64) * values.dtype.itemsize
    return starts, np.ascontiguousarray(values).view(np.uint8)
