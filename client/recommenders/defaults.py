"""Hyper-parameters by unit of time: grids begin with them, and the service uses them as they are.

They come from public data, no shop's own. The order of a user's events has no clock, so its
half-lives are ranks, not days.
"""

from __future__ import annotations

VISIT_HALF_LIFE = {"days": 120.0, "order": 10.0}
"""Of a visit in frequency and co-purchase."""
TEXT_HALF_LIFE = {"days": 60.0, "order": 3.0}
"""Of an event in the profile of zero-shot text and of the text map."""
EASE_L2 = {"days": 100.0, "order": 20.0}
"""Ridge penalty of EASE, with and without the pairs of other shops."""
N_NEIGHBOURS = 200
"""Neighbours of an item."""
SHRINK = 20.0
"""Pulls similarities that rest on few users towards 0, in users."""
PRIOR_STRENGTHS = (1.0, 0.5, 0.0)
"""How much of the popularity in all shops each variant of the profile model has beside the
similarities, the default first."""
