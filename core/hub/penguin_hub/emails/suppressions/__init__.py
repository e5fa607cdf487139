"""Addresses that must not be written to, and why."""
