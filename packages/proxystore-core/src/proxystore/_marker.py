"""Marks a `proxystore` package as this one; the older system has no such module."""

__version__ = "0.7.0"
