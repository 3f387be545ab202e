"""Pods that act event by event: compiled rules that read the local book and send orders."""
