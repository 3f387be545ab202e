"""Daily and reference data: price reports, settlements, curves, rates, indices, companies, statements."""
