"""Games with linear dynamics and quadratic costs: execution against a crowd, instantaneous clearing."""
