"""Every shipped way of serving serves what the shop's node has installed."""

from __future__ import annotations

import re

from client.serving.http.middleware import UNGUARDED_PATHS
from tests.deploy.shipped.shipped_files import (
    BESIDE_NODE,
    DEPLOY,
    UNITS,
    containers,
    manifests,
    parse,
    services,
    unit,
)


def served_by(words: list[str]) -> str:
    return str(parse(words).params["adapter"])


def folder_of(words: list[str]) -> str:
    return str(parse(words).params["root"])


def test_compose_serves_what_the_node_has_installed() -> None:
    serve, node = services()["serve"], services()["node"]
    inside = dict(volume.split(":", 1) for volume in node["volumes"])
    there = dict(volume.split(":", 1) for volume in serve["volumes"])  # writable: no third part
    folder = folder_of(node["command"]).replace(inside["node"], there["node"], 1)
    assert served_by(serve["command"]) == folder
    assert (serve["user"], serve["image"]) == (node["user"], node["image"])
    assert re.search(rf"install -d .* {there['node']}\b", (DEPLOY / "Dockerfile").read_text())


def test_the_serving_pod_serves_what_the_nodes_pod_has_installed() -> None:
    sets = {m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "StatefulSet"}
    node, serve = sets["fedprofile-node"], sets["fedprofile-serve"]
    (kept,) = [claim["metadata"]["name"] for claim in node["volumeClaimTemplates"]]
    theirs, pod = node["template"]["spec"], serve["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claim = {"claimName": f"{kept}-fedprofile-node-0"}
    assert volumes["node"] == {"name": "node", "persistentVolumeClaim": claim}
    (container,), (there,) = pod["containers"], theirs["containers"]
    assert {"name": "node", "mountPath": "/node"} in container["volumeMounts"]
    assert {"name": kept, "mountPath": "/data"} in there["volumeMounts"]
    assert served_by(container["args"]) == folder_of(there["args"]).replace("/data", "/node", 1)
    assert pod["securityContext"] == theirs["securityContext"]
    (rule,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["labelSelector"] == node["selector"]


def test_the_serving_unit_beside_a_node_runs_as_the_node_and_serves_its_folder() -> None:
    (path,) = [path for path in UNITS if path.stem == "fedprofile-node"]
    added, node = unit(BESIDE_NODE)["Service"], unit(path)["Service"]
    for name in ("User", "Group", "StateDirectory"):
        assert added[name] == node[name]
    folder = folder_of(node["ExecStart"].split()[1:])
    assert served_by(added["ExecStart"].split()[1:]) == folder


def test_the_serving_pod_is_asked_for_health_where_the_node_answers_without_a_key() -> None:
    (serve,) = [c for c in containers() if c["name"] == "serve"]
    asked = {
        serve[kind]["httpGet"]["path"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert asked == set(UNGUARDED_PATHS)
    assert parse(serve["args"]).params["host"] == "0.0.0.0"
    assert {entry["name"] for entry in serve["env"]} == {"FEDPROFILE_API_KEY"}
