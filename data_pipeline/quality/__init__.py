"""What a reader must know of the data before believing a result: daily panels, intraday days, a verdict per session."""
