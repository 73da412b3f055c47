"""The shop's rules as they are stored and as they count: changed in one step, without a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import sqlalchemy as sa

from client.serving.ranking.rule_conflicts import check_rule
from client.serving.ranking.rules import Rule, RuleSet
from client.serving.state.engine import RecommendationEngine
from client.store.changes import put_fact
from client.store.database import UnknownError
from client.store.reading import read_fact
from client.store.store import Store

RULES_FACT = "rules"
"""Name of the fact that holds the shop's rules."""
Rules = tuple[Rule, ...]


class RuleBook:
    """Reads and changes the rules of a shop.

    Args:
        store: Where they are kept.
        engine: Where they count.
    """

    def __init__(self, store: Store, engine: RecommendationEngine) -> None:
        self._store, self._engine = store, engine

    def load(self) -> None:
        """Takes the stored rules."""
        stored = self._store.fact(RULES_FACT) or []
        self._engine.set_rules(RuleSet(tuple(Rule.from_json(one) for one in stored)))

    def put(self, rule: Rule) -> Future[Any]:
        """Makes a rule or changes the one of its name; it counts from the next answer on.

        The future raises `RuleConflictError` where it cannot hold beside the others, and
        `UnknownError` where it is about nothing; nothing is changed then.
        """

        def change(rules: Rules) -> Rules:
            others = tuple(one for one in rules if one.name != rule.name)
            with self._engine.lock:
                check_rule(rule, others, self._engine.items)
            if len(others) == len(rules):
                return (*rules, rule)
            return tuple(rule if one.name == rule.name else one for one in rules)

        return self._change(change)

    def delete(self, name: str) -> Future[Any]:
        """Takes a rule away; the future raises `UnknownError` where there is none."""

        def change(rules: Rules) -> Rules:
            left = tuple(rule for rule in rules if rule.name != name)
            if len(left) == len(rules):
                raise UnknownError(
                    "is no rule", name="rule", value=f"{name!r}", remedy="see GET /api/rules"
                )
            return left

        return self._change(change)

    def _change(self, change: Callable[[Rules], Rules]) -> Future[Any]:
        def write(connection: sa.Connection) -> Rules:
            # Read within the transaction: of two changes at once neither may undo the other.
            stored = json.loads(read_fact(connection, RULES_FACT) or "[]")
            rules = change(tuple(Rule.from_json(one) for one in stored))
            put_fact(connection, RULES_FACT, json.dumps([rule.to_json() for rule in rules]))
            return rules

        def follow(rules: Rules) -> None:
            self._engine.set_rules(RuleSet(rules))

        return self._store.write(write, follow)
