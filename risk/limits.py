"""Limits as data: amber, hard and kill levels, and what each does."""
