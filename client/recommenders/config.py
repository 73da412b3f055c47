"""Every constant of the recommenders, by unit of time: the evaluation and the service use the same.

They come from public data, no shop's own. The order of a user's events has no clock, so its
half-lives are ranks, not days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RowForm = Literal["binary", "visits", "strongest"]


@dataclass(frozen=True)
class RecommenderConfig:
    """Hyper-parameters of all recommenders in one unit of time.

    Attributes:
        row_form: What a user's item counts in co-purchase; see `History.rows`.
        visit_half_life: Of a visit in frequency and co-purchase.
        text_half_life: Of an event in the profile of zero-shot text and of the text map.
        shrink: Pulls similarities of ItemKNN that rest on few users towards 0, in users.
        ease_l2: Ridge penalty of EASE, with and without the pairs of other shops.
        pairs_weight: How much a user of another shop counts against one of this shop in EASE.
        sequence_half_life: Of an event of the context in what followed what.
        text_map_epochs: Passes of the text map over its examples.
        text_map_pairs: Examples that it draws from each user.
        text_map_scale: Factor on similarities inside its softmax.
    """

    row_form: RowForm
    visit_half_life: float
    text_half_life: float
    shrink: float
    ease_l2: float
    pairs_weight: float
    sequence_half_life: float
    text_map_epochs: int
    text_map_pairs: int
    text_map_scale: float


CONFIGS = {
    "days": RecommenderConfig(
        row_form="visits",
        visit_half_life=120.0,
        text_half_life=60.0,
        shrink=20.0,
        ease_l2=200.0,
        pairs_weight=0.2,
        sequence_half_life=7.0,
        text_map_epochs=2,
        text_map_pairs=2,
        text_map_scale=3.0,
    ),
    "order": RecommenderConfig(
        row_form="strongest",
        visit_half_life=10.0,
        text_half_life=3.0,
        shrink=20.0,
        ease_l2=20.0,
        pairs_weight=1.0,
        sequence_half_life=2.0,
        text_map_epochs=3,
        text_map_pairs=8,
        text_map_scale=10.0,
    ),
}
"""By unit of time; see `docs/decisions/017-one-library.md` for what each was measured against."""
N_NEIGHBOURS = 200
"""Items that an item of the context reaches at most, in every table of neighbours."""
MAX_EASE_ITEMS = 4000
"""Items among which EASE is solved, the most popular: the matrix that is inverted is this wide."""
MAX_EVENTS = 1000
"""Events of one user that count in co-purchase, the latest: bounds the work that one user makes."""
SEQUENCE_STEPS = 3
"""Steps within which an item counts as following another."""
PRIOR_STRENGTHS = (1.0, 0.5, 0.0)
"""How much of the popularity in all shops each variant of the profile model has beside the
similarities, the default first."""
