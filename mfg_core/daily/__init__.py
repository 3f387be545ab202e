"""Costs of daily trading and their calibration from daily bars."""
