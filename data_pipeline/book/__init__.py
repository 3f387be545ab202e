"""Intraday records once they are parsed: one event layout, order books, best quotes, bars, signs of trades.

    events -> grid -> ladder -> replay -> views, microprice, volatility
    trades, quotes -> bar_rules -> bars; of a whole store: bar_session -> bar_tasks
    the store -> from_store -> record, what a calibration takes

All streaming, and point in time: a row is what was known at its time.
"""
