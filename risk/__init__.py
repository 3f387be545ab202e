"""Losses, drawdowns, concentration and limits of a pod or the fund: arrays in, numbers out, no I/O."""
