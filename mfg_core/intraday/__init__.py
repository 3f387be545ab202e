"""From quotes, trades and order events to the market-making game's parameters with their errors."""
