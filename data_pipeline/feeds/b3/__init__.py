"""B3's intraday files: trades of today and of before, order events with the rebuilt book."""
