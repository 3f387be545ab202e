"""Crypto venues: Binance captures and dumps, Tardis, and hftbacktest's event arrays."""
