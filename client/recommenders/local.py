"""The recommenders that every shop has without any federation: measured and served are these."""

from __future__ import annotations

from client.recommenders.config import CONFIGS
from client.recommenders.ease import EASE, FederatedEASE
from client.recommenders.frequency import OwnFrequency
from client.recommenders.interface import Recommender, ServedRecommender
from client.recommenders.item_knn import ItemKNN
from client.recommenders.popularity import Popularity
from client.recommenders.profile import ProfileRecommender
from client.recommenders.queries import Floats
from client.recommenders.sequence import Sequence
from client.recommenders.tables.pair_gram import PairGram
from client.recommenders.text_map import TextMap

LOCAL_SIGNALS = {
    "days": ("popularity", "frequency", "item-knn", "ease", "text", "text-map"),
    "order": ("popularity", "frequency", "item-knn", "ease", "sequence", "text", "text-map"),
}
"""Names of a shop's own signals by unit of time: the items of one basket follow each other in no
order."""

LOCAL_NAMES = frozenset(name for names in LOCAL_SIGNALS.values() for name in names)
"""Names of a shop's own signals in any unit of time."""


def behaviour_recommenders(time_unit: str) -> dict[str, ServedRecommender]:
    """Returns the recommenders that know items by who took them, by name.

    Args:
        time_unit: "days" or "order".
    """
    config = CONFIGS[time_unit]
    form, half_life = config.row_form, config.visit_half_life
    recommenders: dict[str, ServedRecommender] = {
        "popularity": Popularity(),
        "frequency": OwnFrequency(half_life),
        "item-knn": ItemKNN(shrink=config.shrink, form=form, half_life=half_life),
        "ease": EASE(l2=config.ease_l2, form=form, half_life=half_life),
        "sequence": Sequence(half_life=config.sequence_half_life),
    }
    return {name: r for name, r in recommenders.items() if name in LOCAL_SIGNALS[time_unit]}


def local_recommenders(item_vectors: Floats, time_unit: str) -> dict[str, Recommender]:
    """Returns all recommenders of `LOCAL_SIGNALS`, by name.

    Args:
        item_vectors: Text vectors of the catalogue, `(n_items, d)`.
        time_unit: "days" or "order".
    """
    half_life = CONFIGS[time_unit].text_half_life
    return {
        **behaviour_recommenders(time_unit),
        "text": ProfileRecommender(item_vectors, half_life=half_life),
        "text-map": TextMap.of_unit(item_vectors, time_unit),
    }


def federated_ease(gram: PairGram, time_unit: str) -> FederatedEASE:
    """Returns EASE on a shop's own users and the pairs of others.

    Args:
        gram: Pairs of the other shops' users.
        time_unit: "days" or "order".
    """
    config = CONFIGS[time_unit]
    return FederatedEASE(
        gram,
        weight=config.pairs_weight,
        l2=config.ease_l2,
        form=config.row_form,
        half_life=config.visit_half_life,
    )
