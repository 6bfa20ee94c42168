"""Futures, streams, ownership, lifetimes and executors for proxystore."""
