"""Mean-field games on finitely many states: the protocol of a game, its solver, its certificate."""
