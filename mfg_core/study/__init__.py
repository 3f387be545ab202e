"""What one asks of solved games: stability, other equilibria, sensitivities, bands, batches, the game of N makers."""
