"""A node pulls what never changes once."""

from __future__ import annotations

import pytest
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supernode.fleet_http_client import FleetHttpClient

from shared.flower.node.connection import MIN_OBJECT_BYTES, ObjectCache, ReconnectingClient


def named(content: bytes) -> tuple[str, bytes]:
    return get_object_id(content), content


def test_what_was_used_last_stays_within_the_bound() -> None:
    objects = [named(bytes([number]) * MIN_OBJECT_BYTES) for number in range(3)]
    cache = ObjectCache(max_bytes=2 * MIN_OBJECT_BYTES)
    for number, content in objects[:2]:
        cache.put(number, content)
    assert cache.get(objects[0][0]) == objects[0][1]
    cache.put(*objects[2])
    assert [cache.get(number) is None for number, _ in objects] == [False, True, False]


def test_a_wrong_name_and_small_and_huge_objects_are_not_kept() -> None:
    cache = ObjectCache(max_bytes=2 * MIN_OBJECT_BYTES)
    wrong = get_object_id(b"other")
    cache.put(wrong, b"x" * MIN_OBJECT_BYTES)
    cases = [named(b"x" * (MIN_OBJECT_BYTES - 1)), named(b"x" * (2 * MIN_OBJECT_BYTES + 1))]
    for number, content in cases:
        cache.put(number, content)
    assert [cache.get(number) for number in (wrong, *(n for n, _ in cases))] == [None] * 3


def test_a_client_asks_for_an_object_once(monkeypatch: pytest.MonkeyPatch) -> None:
    number, content = named(b"A" * MIN_OBJECT_BYTES)
    asked: list[str] = []

    def pull(_: FleetHttpClient, request: PullObjectRequest) -> PullObjectResponse:
        there = bool(asked)
        asked.append(request.object_id)
        return PullObjectResponse(
            object_found=True, object_available=there, object_content=content if there else b""
        )

    monkeypatch.setattr(FleetHttpClient, "PullObject", pull)
    monkeypatch.setattr(ReconnectingClient, "cache", ObjectCache())
    for available in (False, True, True):  # what is not there yet is asked for again
        client = object.__new__(ReconnectingClient)  # one for each connection, as Flower makes them
        answer = client.PullObject(PullObjectRequest(object_id=number))
        assert (answer.object_available, answer.object_found) == (available, True)
    assert answer.object_content == content
    assert asked == [number, number]
