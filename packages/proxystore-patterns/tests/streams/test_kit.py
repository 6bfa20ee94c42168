"""The kit sees what each saboteur breaks."""

from __future__ import annotations

import pytest

from proxystore.abc import Acknowledgement
from proxystore_patterns.errors import StreamError
from proxystore_patterns.streams import BrokerCapability, Delivery
from proxystore_patterns.testing import Broker, BrokerContract
from proxystore_patterns.testing.saboteurs import SABOTEURS

ON_EACH = {name for name, found in SABOTEURS.items() if Delivery.EACH in found.needs}


class Contract(BrokerContract):
    delivery = Delivery.ONE
    capabilities = frozenset(BrokerCapability)
    acknowledges = Acknowledgement.MEMORY


class EachContract(BrokerContract):
    delivery = Delivery.EACH
    capabilities = frozenset({BrokerCapability.NOTICES_LOSS, BrokerCapability.REPLAY})
    acknowledges = Acknowledgement.MEMORY


@pytest.fixture
def within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A saboteur that never ends is seen sooner."""
    from proxystore_patterns.testing import _broker

    monkeypatch.setattr(_broker, "WITHIN", 1.0)


@pytest.mark.slow
@pytest.mark.usefixtures("within_a_second")
@pytest.mark.parametrize("name", SABOTEURS)
def test_a_saboteur_is_caught(name: str, group_broker: Broker, stream_broker: Broker) -> None:
    saboteur = SABOTEURS[name]
    behind, contract = (
        (stream_broker, EachContract()) if name in ON_EACH else (group_broker, Contract())
    )
    test = getattr(contract, saboteur.caught_by)
    test(behind)
    broken = saboteur(behind)
    # What pytest.raises raises when nothing was is no Exception.
    with pytest.raises((AssertionError, StreamError, pytest.fail.Exception)):
        test(broken)
    broken.close()


def test_every_saboteur_says_its_rule_and_is_caught_by_a_test_that_there_is() -> None:
    assert [name for name, found in SABOTEURS.items() if not found.__doc__] == []
    assert [s for s in SABOTEURS.values() if not hasattr(BrokerContract, s.caught_by)] == []


def test_the_tests_of_what_is_not_claimed_are_not_there() -> None:
    assert EachContract.test_what_was_rejected_is_delivered_again is None
    assert EachContract.test_a_message_goes_to_one_subscriber is None


def test_a_contract_test_cannot_be_overridden() -> None:
    with pytest.raises(TypeError, match=r"test_topics_are_apart.*xfail\(reason=\.\.\.\)"):
        type("Sly", (Contract,), {"test_topics_are_apart": lambda self, broker: None})


def test_a_contract_must_state_its_claims() -> None:
    with pytest.raises(TypeError, match="delivery, capabilities, acknowledges"):
        type("Silent", (BrokerContract,), {})
