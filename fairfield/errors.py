"""Errors of the application's own: a configuration that cannot be used."""

from __future__ import annotations


class ConfigError(Exception):
    """A configuration that cannot be used; the message names the file, the key, the rule and the value."""
