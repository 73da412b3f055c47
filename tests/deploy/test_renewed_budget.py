"""An owner renews the budget of a real node: the command, the node's figures, refusals."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from client.cli import node as node_commands
from client.deploy.metrics import NodeCollector
from client.deploy.node_ledger import open_ledger
from client.deploy.node_process import node_status
from shared.errors import FedprofileError
from tests.deploy.installing import Pair
from tests.deploy.requests import Requests


def ledger(pair: Pair, *words: str) -> Result:
    line = ["ledger", *words, "--dir", str(pair.node.root)]
    return CliRunner().invoke(node_commands, line)


class AlivePulse:
    """A server that answers heartbeats."""

    def alive(self) -> bool:
        return True


def gauges(pair: Pair) -> dict[str, float]:
    collected = NodeCollector(pair.node, AlivePulse()).collect()  # type: ignore[arg-type]
    return {s.name: s.value for metric in collected for s in metric.samples}


def test_the_owner_renews_the_budget_and_the_node_goes_on(pair: Pair) -> None:
    asked = Requests(pair)
    assert not isinstance(asked.counts(), str)
    before = open_ledger(pair.node).spent().bound
    settings = pair.node.config.read_bytes()
    result = ledger(pair, "renew", "--epsilon", "5", "--reason", "the works council agreed")
    assert result.exit_code == 0, result.output
    assert f"Epsilon {before:.4g} is spent in all" in result.output
    assert "may reach 5" in result.output
    assert "not mathematics" in result.output
    assert pair.node.config.read_bytes() == settings  # the ledger alone knows of renewals
    budget = node_status(pair.node)["budget"]
    assert (budget["limit"], budget["budget_epsilon"], budget["renewals"]) == (5, 0, 1)
    assert budget["epsilon"] == pytest.approx(before)
    shown = CliRunner().invoke(node_commands, ["status", "--dir", str(pair.node.root)])
    assert f"since the last of 1 renewals, {before:.4g} in all" in shown.output
    measured = gauges(pair)
    assert measured["fedprofile_node_epsilon_total"] == pytest.approx(before)
    assert measured["fedprofile_node_epsilon_spent"] == 0
    assert measured["fedprofile_node_epsilon_limit"] == 5
    assert not isinstance(asked.train(1), str)  # of the plan that was paid before


def test_json_is_the_line_itself(pair: Pair) -> None:
    result = ledger(pair, "renew", "--epsilon", "5", "--reason", "a year", "--json")
    said = json.loads(result.output)
    assert (said["kind"], said["limits"]["epsilon"], said["reason"]) == ("renewal", 5, "a year")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--epsilon", "5", "--reason", " "), "reason='' must have 1 to 500 characters"),
        (("--epsilon", "0.01", "--reason", "a"), "epsilon=0.01 must be between"),
        (("--epsilon", "5", "--reason", "a", "--window-days", "3"), "go together"),
    ],
)
def test_bad_renewals_say_one_line_and_write_nothing(pair: Pair, words, message) -> None:
    lines = len(open_ledger(pair.node).chain.line_hashes)
    error = ledger(pair, "renew", *words).exception
    assert isinstance(error, FedprofileError)
    assert error.exit_code == 2
    assert message in str(error)
    assert "\n" not in str(error)
    assert len(open_ledger(pair.node).chain.line_hashes) == lines
