"""Globus that is down, slow, busy or strange: a completed retry or a clear error, no hang."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxystore.errors import ConnectorUnavailableError, ProxyStoreError
from proxystore_connectors_globus import GlobusConnector, LoginRequiredError

fuzzed = settings(
    max_examples=12,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


# --- Lost, cut, repeated ------------------------------------------------------


def test_a_submission_whose_answer_is_lost_makes_one_task(globus, here, there) -> None:
    globus.fault(lose_answer={"times": 1})
    key = here.put(b"x")
    assert 2 == len(globus.tasks("TRANSFER"))
    assert 3 == globus.requests("/transfer")
    assert b"x" == bytes(there.get(key))


@pytest.mark.slow
@pytest.mark.parametrize("nbytes", [0, 1, 120, 250])
def test_an_answer_that_is_cut_is_asked_for_again(
    globus, sites, forwarder, monkeypatch, nbytes: int
) -> None:
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", forwarder.url)
    with sites.make() as connector:
        connector.put(b"logs in, and checks the paths")
        connector._service.close()
        forwarder.cuts[:] = [nbytes]
        key = connector.put(b"x")
        assert [] == forwarder.cuts
        assert 4 == len(globus.tasks("TRANSFER"))
        with sites.at(1, connector) as other:
            assert b"x" == bytes(other.get(key))


@pytest.mark.slow
def test_503_is_tried_again(globus, here) -> None:
    globus.fault(
        refuse={"times": 1, "path": "/submission", "status": 503, "code": "X", "message": "busy"}
    )
    assert b"x" == bytes(here.get(here.put(b"x")))


@pytest.mark.slow
def test_a_rate_limit_is_kept(globus, here) -> None:
    here.put(b"logs in")
    globus.fault(rate_limit={"times": 1, "retry_after": 1})
    start = time.monotonic()
    here.put(b"x")
    assert 1.0 <= time.monotonic() - start < 5.0


@pytest.mark.slow
def test_globus_that_stays_busy_is_told(globus, sites) -> None:
    with sites.make(timeout=1.0, clear=False) as connector:
        connector.put(b"logs in")
        globus.fault(rate_limit={"times": 1000, "retry_after": 60})
        start = time.monotonic()
        with pytest.raises(ConnectorUnavailableError, match=r"429 RateLimit.*try again"):
            connector.put(b"x")
        assert time.monotonic() - start < 3.0


# --- Killed, slow -------------------------------------------------------------


@pytest.mark.slow
def test_a_restart_of_globus_is_survived(globus, here, there) -> None:
    globus.fault(hold_transfer={"nice_status": "QUEUED"})
    key = here.put(b"x")
    with ThreadPoolExecutor(1) as pool:
        getting = pool.submit(there.get, key)
        globus.until_asked("/task/", 2)
        globus.kill()
        globus.start()
        assert b"x" == bytes(getting.result(30))


@pytest.mark.slow
def test_globus_that_is_gone_is_named_with_host_and_port(globus, sites) -> None:
    with sites.make(timeout=0.5, clear=False) as connector:
        connector.put(b"logs in")
        globus.kill()
        start = time.monotonic()
        with pytest.raises(ConnectorUnavailableError, match=str(globus.port)) as caught:
            connector.put(b"x")
        assert time.monotonic() - start < 2.0
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(caught.value), str(caught.value)) == (type(again), str(again))
        assert "not-a-real-secret" not in str(caught.value)


@pytest.mark.slow
def test_globus_that_does_not_answer_is_given_up(globus, sites) -> None:
    with sites.make(timeout=0.5, clear=False) as connector:
        connector.put(b"logs in")
        globus.fault(stall_s=5)
        start = time.monotonic()
        with pytest.raises(ConnectorUnavailableError, match=r"(?i)timeout|timed out"):
            connector.put(b"x")
        assert time.monotonic() - start < 2.0


@pytest.mark.slow
def test_a_login_service_that_does_not_answer_is_given_up(globus, sites) -> None:
    globus.fault(stall_s=5)
    with sites.make(timeout=0.5, clear=False) as connector:
        start = time.monotonic()
        with pytest.raises(ConnectorUnavailableError, match=r"(?i)timeout|timed out"):
            connector.put(b"x")
        assert time.monotonic() - start < 2.0


def test_a_reader_of_other_objects_is_undisturbed_by_globus_that_is_gone(globus, here) -> None:
    key = here.put(b"x")
    globus.kill()
    assert b"x" == bytes(here.get(key))
    assert here.exists(key) is True
    globus.start()


# --- Refusals -----------------------------------------------------------------


def test_an_expired_token_is_renewed(globus, here) -> None:
    here.put(b"x")
    globus.fault(expire_tokens="expire")
    here.put(b"y")
    assert 2 == globus.requests("/v2/oauth2/token")


def test_a_consent_that_is_missing_names_the_command_and_the_scope(globus, here) -> None:
    scope = "urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.example/data_access]"
    globus.fault(
        refuse={
            "times": 1,
            "path": "/transfer",
            "status": 403,
            "code": "ConsentRequired",
            "message": "Missing required data_access consent",
            "more": {"required_scopes": [scope]},
        }
    )
    with pytest.raises(LoginRequiredError, match="login --collection") as caught:
        here.put(b"x")
    assert scope in str(caught.value)


def test_a_session_that_is_demanded_names_the_domain(globus, here) -> None:
    demanded = {"session_required_single_domain": ["example.edu"], "session_message": "log in"}
    globus.fault(
        refuse={
            "times": 1,
            "path": "/transfer",
            "status": 403,
            "code": "PermissionDenied",
            "message": "policy",
            "more": {"authorization_parameters": demanded},
        }
    )
    with pytest.raises(LoginRequiredError, match=r"login --domain example\.edu"):
        here.put(b"x")


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "PermissionDenied", "may read and write"),
        (404, "EndpointNotFound", "Check uuid"),
        (409, "TooManyPendingJobs", "in batches"),
        (400, "ClientError.BadRequest", "Check the collections"),
        (502, "ExternalError.DirListingFailed.GCDisconnected", "not reachable"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(globus, here, status, code, advice) -> None:
    globus.fault(
        refuse={"times": 1, "path": "/transfer", "status": status, "code": code, "message": "no"}
    )
    with pytest.raises(ConnectorUnavailableError, match=f"{status} {code}.*{advice}"):
        here.put(b"x")


def test_a_wrong_secret_is_told(globus, sites, monkeypatch) -> None:
    monkeypatch.setenv("PROXYSTORE_GLOBUS_CLIENT_SECRET", "another secret")
    with sites.make(clear=False) as connector:
        with pytest.raises(LoginRequiredError, match="Check the id and the secret") as caught:
            connector.put(b"x")
        assert "another secret" not in str(caught.value)


# --- Strange answers ----------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([
                "status",
                "task_id",
                "value",
                "fatal_error",
                "code",
                "message",
                "type",
                "DATA_TYPE",
                "access_token",
                "expires_in",
                "resource_server",
                "scope",
                "other_tokens",
                "errors",
            ]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=8,
).map(lambda document: json.dumps(document).encode())
_paths = ["/task/", "/submission_id", "/transfer", "/operation/", "/v2/"]


@pytest.mark.slow
@pytest.mark.parametrize("path", _paths)
@given(body=_json | st.binary(max_size=60), status=st.sampled_from([200, 200, 400, 403]))
@fuzzed
def test_no_answer_whatsoever_does_harm(globus, sites, body: bytes, path: str, status) -> None:
    globus.fault(garble=None)
    with sites.make(timeout=0.2, clear=False) as connector:
        known = connector.put(b"known") if path == "/task/" else None
        garbled = {"path": path, "status": status, "body": base64.b64encode(body).decode()}
        # A connector of its own, which has not looked at the task, nor checked the paths.
        with sites.at(1 if known else 0, connector) as other:
            other._service.close()
            shutil.rmtree(Path(os.environ["PROXYSTORE_HOME"]) / "globus", ignore_errors=True)
            globus.fault(garble=garbled)
            with contextlib.suppress(ProxyStoreError):
                _use(other, known)
            globus.fault(garble=None)
            assert known is None or b"known" == bytes(other.get(known))


def _use(connector: GlobusConnector, known) -> None:
    if known is None:
        connector.put(b"x")
    else:
        assert connector.get(known) in (None, b"known", bytearray(b"known"))
