"""A node pulls what never changes once."""

from __future__ import annotations

import pytest
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.deploy.activation import PatientClient
from client.deploy.kept_objects import SMALLEST, KeptObjects


def named(content: bytes) -> tuple[str, bytes]:
    return get_object_id(content), content


def test_what_was_used_last_stays_within_the_bound() -> None:
    objects = [named(bytes([number]) * SMALLEST) for number in range(3)]
    kept = KeptObjects(most=2 * SMALLEST)
    for number, content in objects[:2]:
        kept.put(number, content)
    assert kept.get(objects[0][0]) == objects[0][1]
    kept.put(*objects[2])
    assert [kept.get(number) is None for number, _ in objects] == [False, True, False]


def test_a_wrong_name_and_small_and_huge_objects_are_not_kept() -> None:
    kept = KeptObjects(most=2 * SMALLEST)
    wrong = get_object_id(b"other")
    kept.put(wrong, b"x" * SMALLEST)
    cases = [named(b"x" * (SMALLEST - 1)), named(b"x" * (2 * SMALLEST + 1))]
    for number, content in cases:
        kept.put(number, content)
    assert [kept.get(number) for number in (wrong, *(n for n, _ in cases))] == [None] * 3


def test_a_client_asks_for_an_object_once(monkeypatch: pytest.MonkeyPatch) -> None:
    number, content = named(b"A" * SMALLEST)
    asked: list[str] = []

    def pull(_: FleetHttpClient, request: PullObjectRequest) -> PullObjectResponse:
        there = bool(asked)
        asked.append(request.object_id)
        return PullObjectResponse(
            object_found=True, object_available=there, object_content=content if there else b""
        )

    monkeypatch.setattr(FleetHttpClient, "PullObject", pull)
    monkeypatch.setattr(PatientClient, "kept", KeptObjects())
    for available in (False, True, True):  # what is not there yet is asked for again
        client = object.__new__(PatientClient)  # one for each connection, as Flower makes them
        answer = client.PullObject(PullObjectRequest(object_id=number))
        assert (answer.object_available, answer.object_found) == (available, True)
    assert answer.object_content == content
    assert asked == [number, number]
