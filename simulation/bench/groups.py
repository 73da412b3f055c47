"""The groups of figures, in the order in which they are measured: one module a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from simulation.bench.audit_figures import audit_figures
from simulation.bench.deployment.figures import deployment_figures, many_nodes_figures
from simulation.bench.dp_step import dp_step
from simulation.bench.figures import Figure
from simulation.bench.ledger_figures import ledger_figures
from simulation.bench.runs import default_simulation, many_shops
from simulation.bench.serving_figures import serving_figures

Measure: TypeAlias = Callable[[], list[Figure]]

GROUPS: dict[str, Measure] = {
    "simulation": default_simulation,
    "dp-step": dp_step,
    "many-shops": many_shops,
    "ledger": ledger_figures,
    "audit": audit_figures,
    "deployment": deployment_figures,
    "many-nodes": many_nodes_figures,
    "serving": serving_figures,
}
