"""Settings of a shop's service: frozen, checked, every field with its unit and bounds."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from shared.settings.run_settings import TARGET_TYPES, EventType, Settings


class ServingSettings(Settings):
    """Where the service listens, what it lets in and how it recommends."""

    host: str = "127.0.0.1"
    """Address to listen on; other than loopback only with `api_key`."""
    allowed_hosts: tuple[str, ...] = ()
    """Names beyond `host`, `localhost` and addresses in numbers that requests may be for."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port; 0 takes a free one."""
    api_key: Annotated[str, Field(min_length=16)] | None = None
    """The owner's key, which callers send as `X-API-Key`; None takes it from the key file of the
    database. An application within this process, without either, lets everybody in."""
    requests_per_second: Annotated[float, Field(gt=0)] = 2000.0
    """Requests that one address may make, each second on average."""
    burst: Annotated[int, Field(ge=1)] = 4000
    """Requests that one address may make in one moment."""
    max_body: Annotated[int, Field(ge=1024)] = 5_000_000
    """Bytes of a request's body at most."""
    max_bulk: Annotated[int, Field(ge=1024)] = 2_000_000_000
    """Bytes of a bulk import's body at most; it is never in memory as a whole."""
    max_head: Annotated[int, Field(ge=1024)] = 32_768
    """Bytes of a request's address and headers at most."""
    head_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Seconds in which address and headers must have come."""
    body_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Seconds for which the next part of a body may be awaited; a body that is no bulk import has
    twice as many in all."""
    idle_seconds: Annotated[int, Field(ge=1)] = 30
    """Seconds after which a connection is closed that nothing is asked on."""
    connections_per_address: Annotated[int, Field(ge=1)] = 1024
    """Connections of one address at most; the longest idle one makes room for the next."""
    answer_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Seconds after which explanations and likenesses are given as far as they are."""
    refresh_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Seconds between two refreshes of co-purchase, when there are new events."""
    snapshot_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """Seconds after which what changed is written to the copy of the state, for a quick start."""
    local_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of users, by hash, who get the shop's own signals alone (the A/B switch)."""
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Default diversity of rankings; see `client.serving.ranking.ranker.diversify`."""
    int8: bool = False
    """Whether item vectors are stored in one byte a number alone; see
    `client.recommenders.tables.item_vectors`."""
    target_types: Annotated[tuple[EventType, ...], Field(min_length=1)] = TARGET_TYPES
    """Event types that say that a user has an item: *discover* leaves it out, *buy again* shows it,
    and weights are learned from them. In data that have none of them all types count."""
    feedback_types: dict[str, EventType] = Field(default={})
    """What feedback of Gorse's clients counts as, by the shop's name for it; see
    `client.serving.http.gorse.feedback_types` for names that need no line here."""
    deny: tuple[str, ...] = ()
    """Ids of items that are never recommended."""
    ledger: Path | None = None
    """The shop's privacy ledger, a file, to be shown; None shows none."""
    future_seconds: Annotated[float, Field(ge=0)] = 86_400.0
    """Seconds that an event's time may lie ahead of this machine's clock."""

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _key_beyond_loopback(self) -> ServingSettings:
        if not self.on_loopback and self.api_key is None:
            raise PydanticCustomError(
                "api_key_missing",
                "is reachable from other machines and needs an API key of at least 16 characters",
                {
                    "name": "host",
                    "value": self.host,
                    "remedy": "set FEDPROFILE_API_KEY or listen on 127.0.0.1",
                },
            )
        return self
