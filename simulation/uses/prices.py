"""Price responses of the embedded data set as lines for people or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from client.uses.price_response import PriceResponse, price_responses, what_if
from shared.errors import ConfigError
from shared.settings.run_settings import DataSettings
from simulation.uses.histories import load_histories


def price_lines(
    settings: DataSettings, *, category: str | None, price: float | None, as_json: bool
) -> Iterator[str]:
    """Yields one line a category, or what went with one price of one category.

    Args:
        settings: The data set; it must have prices and promotions.
        category: One category; None for all.
        price: Price over the usual price; needs a category.
        as_json: One JSON text instead of lines.

    Raises:
        ConfigError: The category is unknown, or no such price was seen.
    """
    if price is not None and category is None:
        raise ConfigError(
            "needs a category", name="price", value=price, remedy="name one with --category"
        )
    responses = price_responses(load_histories(settings, seed=0).chain)
    if category is not None:
        responses = [_of(responses, category)]
    if price is None:
        if as_json:
            yield json.dumps([asdict(response) for response in responses], indent=2)
            return
        yield from (_line(response) for response in responses)
        return
    told = what_if(responses[0], price)
    if as_json:
        yield json.dumps(asdict(responses[0]) | {"price": price} | asdict(told), indent=2)
        return
    yield f"{responses[0].category} at {price:g} of the usual price, as it went in the past:"
    for name, (mean, low, high) in (("pieces", told.pieces), ("revenue", told.revenue)):
        yield f"  {name} {mean:.2f} times the usual ({low:.2f} to {high:.2f})"
    yield "  Not what the price causes: prices are lowered when more is expected to be bought."


def _of(responses: list[PriceResponse], category: str) -> PriceResponse:
    for response in responses:
        if response.category == category:
            return response
    raise ConfigError(
        "has too few items with prices, or is unknown",
        name="category",
        value=repr(category),
        remedy="see `fedprofile uses prices`",
    )


def _line(response: PriceResponse) -> str:
    return (
        f"{response.category:<32} elasticity {response.elasticity:6.2f} "
        f"({response.low:.2f} to {response.high:.2f}), {response.items} items, prices "
        f"{response.lowest:.2f} to {response.highest:.2f} of the usual"
    )
