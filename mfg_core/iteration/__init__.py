"""Interchangeable fixed-point methods, one contract: Picard, Anderson, fictitious play, Newton-Krylov."""
