"""Facts about the machine: node identity, file locks, file systems, forks, the user's directory.

Nothing here knows proxies, stores or connectors. Published for connectors and whatever else
lives beside core.
"""
