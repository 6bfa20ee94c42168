"""The parts of `proxystore.connectors.file`, each with one reason to change."""
