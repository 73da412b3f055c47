"""The test rankings of all methods of one shop, surface by surface."""

from __future__ import annotations

from collections.abc import Mapping

from client.fusion import fuse, standardise
from client.fusion_weights import Weights
from client.recommenders.history import History
from client.recommenders.interface import Recommender, Scores
from client.recommenders.tuning import score_surface
from client.surfaces import SHARED_CONTEXT, Queries
from simulation.evaluation.measures import ItemFacts, Ranking, measure


def measure_surfaces(
    history: History,
    queries: Mapping[str, Queries],
    chosen: Mapping[str, Mapping[str, Recommender]],
    weights: Mapping[str, Mapping[str, Weights]],
    facts: ItemFacts,
) -> dict[str, dict[str, Ranking]]:
    """Fits every chosen recommender once, scores its surfaces, fuses and measures.

    One surface is open at a time: scores of all at once are the most that an evaluation holds.

    Args:
        history: What the shop knows before the test window.
        queries: The test queries by surface, those that share the context of `for-you` after it.
        chosen: surface -> signal -> recommender, of which equal ones are fitted once.
        weights: surface -> method -> signal -> weight.
        facts: What diversity and novelty need to know of the candidates.

    Returns:
        surface -> method -> ranking.
    """
    fitted: dict[int, Recommender] = {}
    for recommenders in chosen.values():
        for recommender in recommenders.values():
            if id(recommender) not in fitted:
                fitted[id(recommender)] = recommender.fit(history)
    rankings = {}
    shared: dict[int, Scores] = {}
    for surface, asked in queries.items():
        if surface not in SHARED_CONTEXT:
            shared.clear()
        signals = {
            name: standardise(score_surface(fitted[id(r)], queries, surface, shared), asked.allowed)
            for name, r in chosen[surface].items()
        }
        rankings[surface] = {
            method: measure(fuse(signals, mix), asked, facts)
            for method, mix in weights[surface].items()
        }
    return rankings
