"""When a venue trades and by which rules: calendar, dated hours, auctions, ticks and lots, circuit breakers."""
