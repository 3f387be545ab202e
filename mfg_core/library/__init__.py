"""Many solved policies on a grid of parameters, and the compiled look-up of a quote."""
