"""Facts about the machine: node identity, file locks, file systems, forks.

Nothing here knows proxies, stores or connectors.
"""
