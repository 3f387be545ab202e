"""Market making on the family: the game, its exact linear path, shapes, types, regimes, entry and exit."""
