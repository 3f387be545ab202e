"""The event engine: market events and a quoting or execution rule in, fills and accounts out."""
