"""Routes of the shop's rules: pin, boost, bury and cap, by surface and with dates."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from client.sdk.answers.catalogue import Deleted
from client.sdk.answers.rules import RuleList, ShopRule
from client.serving.features.item_table import today
from client.serving.http.description import answers
from client.serving.http.routing import json_reply, service_of
from client.serving.http.rule_schema import RuleIn
from client.serving.ranking.rules import Rule
from client.store.reading import day_as_text

router = APIRouter(prefix="/api", tags=["rules"])
RuleName = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[\w.-]+$")]


@router.get(
    "/rules",
    summary="The shop's rules",
    operation_id="list_rules",
    responses=answers(RuleList),
)
async def list_rules(request: Request) -> Response:
    """Lists all rules in the order in which they were made; `active` ones count now."""
    rules = service_of(request).engine.rules.rules
    return json_reply({"rules": [rule_view(rule) for rule in rules]})


@router.put(
    "/rules/{name}",
    summary="Make or change a rule",
    operation_id="put_rule",
    responses=answers(ShopRule, 404, 409),
)
async def put_rule(request: Request, name: RuleName, rule: RuleIn) -> Response:
    """Takes a rule from the next answer on, in place of the one of this name."""
    record = rule.record(name)
    job = await run_in_threadpool(service_of(request).rule_book.put, record)
    await asyncio.wrap_future(job)
    return json_reply(rule_view(record))


@router.delete(
    "/rules/{name}",
    summary="Delete a rule",
    operation_id="delete_rule",
    responses=answers(Deleted, 404),
)
async def delete_rule(request: Request, name: RuleName) -> Response:
    """Takes a rule away; the next answer is as if it had never been."""
    await asyncio.wrap_future(service_of(request).rule_book.delete(name))
    return json_reply({"deleted": name})


_FIELDS = {
    "pin": ("items", "position"),
    "boost": ("items", "category", "label", "strength"),
    "bury": ("items", "category", "label", "strength"),
    "cap": ("category", "most"),
}
"""What is said of a rule, by its effect."""


def rule_view(rule: Rule) -> dict[str, Any]:
    """Describes a rule; what comes, without `name` and `active`, can be sent back."""
    values = rule.to_json()
    return {
        "name": rule.name,
        "effect": rule.effect,
        "surfaces": list(rule.surfaces),
        **{name: values[name] for name in _FIELDS[rule.effect] if values[name] not in ("", ())},
        "valid_from": None if rule.valid_from is None else day_as_text(rule.valid_from),
        "valid_to": None if rule.valid_to is None else day_as_text(rule.valid_to),
        "active": rule.is_active(today()),
    }
