"""Intraday records once they are parsed: one event layout, order books, best quotes, bars, signs of trades.

events -> book -> best quotes, depth, imbalance; trades -> bars, realised volatility; all streaming, point in time
"""
