"""Daily quotes out of the store to a clean, point-in-time panel: adjusted by what was known, views of the past."""
