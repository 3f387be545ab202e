"""LOBSTER's message and order-book pairs."""
