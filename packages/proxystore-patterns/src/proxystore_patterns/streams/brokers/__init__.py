"""Brokers: one module each, imported where it is used, for each has a library of its own."""
