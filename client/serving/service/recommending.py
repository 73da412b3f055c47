"""What routes that recommend ask for, in the process that writes and in those that only read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from client.serving.analytics.ab_test import variant_of
from client.serving.analytics.metrics import Observations
from client.serving.ranking.ranker import RecommendationRequest, RecommendationResult
from client.serving.service.settings import ServingSettings
from client.serving.state.engine import RecommendationEngine


class Recommending(ABC):
    """Ranks and says what was shown.

    Attributes:
        engine: The state in memory.
        settings: Of the service.
        observations: What answers are counted in.
    """

    engine: RecommendationEngine
    settings: ServingSettings
    observations: Observations

    def recommend(
        self, request: RecommendationRequest, user_id: str | None, cart: Sequence[str] | None = None
    ) -> RecommendationResult:
        """Ranks items; see `RecommendationEngine.recommend`."""
        self.observations.recommended(request.surface, request.variant)
        events = None if cart is None else self.engine.cart(cart)
        return self.engine.recommend(request, user_id, events)

    def shown(
        self,
        user_id: str,
        result: RecommendationResult,
        request: RecommendationRequest,
        body: dict[str, Any],
    ) -> None:
        """Counts the items that a user with a name gets to see."""
        item_ids = [entry["item_id"] for entry in body["items"]]
        leading = result.ranking.parts.argmax(axis=1).tolist() if item_ids else []
        self.count_shown(user_id, leading, item_ids, (request.surface, request.variant))

    @abstractmethod
    def count_shown(
        self, user_id: str, leading: list[int], item_ids: list[str], where: tuple[str, str]
    ) -> None:
        """Counts what a user gets to see; see `OnlineCounters.show`."""

    def variant_of(self, user_id: str | None) -> str:
        """Returns `local` for the share of users who get no global model, else `fused`."""
        return variant_of(user_id, local_share=self.settings.local_share)
