"""Queues keep the contract of brokers."""

from __future__ import annotations

import pytest

from proxystore.abc import Acknowledgement
from proxystore_patterns.streams import BrokerCapability, Delivery
from proxystore_patterns.testing import Broker, BrokerContract


class TestQueue(BrokerContract):
    delivery = Delivery.ONE
    capabilities: frozenset[BrokerCapability] = frozenset()
    acknowledges = Acknowledgement.MEMORY

    @pytest.fixture
    def broker(self, queue_broker: Broker) -> Broker:
        return queue_broker


class TestProcessQueue(TestQueue):
    @pytest.fixture
    def broker(self, process_queue_broker: Broker) -> Broker:
        return process_queue_broker
