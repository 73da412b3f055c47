"""deploy/: every file parses, runs commands that exist, opens one port and holds no secret."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from client.deploy.folder import NodeFolder
from client.deploy.metrics import NodeCollector
from client.deploy.setup import make_node_key
from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import make_invitation
from server.coordinator.metrics import ServerCollector
from shared.flower.node.link import ServerPulse
from shared.runtime.metrics_endpoint import serve_metrics
from tests import ROOT
from tests.deploy.federations import Federation
from tests.deploy.shipped.shipped_files import (
    DEPLOY,
    IMAGE,
    UNITS,
    commands,
    containers,
    dockerfile,
    manifests,
    parse,
    services,
    unit,
)
from tests.simulation.tiny_shops import write_tiny_shops

PROXY = "8443"


def test_every_command_is_one_with_options_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "FILE").write_text("what the pages call FILE is a passphrase")
    (tmp_path / "FILE").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    found = list(commands())
    for place, words in found:
        try:
            parse(words)
        except click.exceptions.Exit:
            assert words[-1] == "--help", place
        except click.ClickException as error:
            pytest.fail(f"{place}: fedprofile {' '.join(words)}: {error.format_message()}")
    said = {" ".join(words[:2]) for _, words in found}
    assert {"serve.md", "README.md", "deploy.md", "node.conf"} <= {place for place, _ in found}
    assert {"server init", "server start", "server run", "node init", "node start"} <= said
    starts = [parse(words) for _, words in found if words[1] == "start" and len(words) > 4]
    assert len([c for c in starts if c.params["metrics_port"]]) >= 6


@pytest.mark.parametrize(
    "words", [["server", "begin"], ["node", "start", "--metric-port", "1"], ["node", "init"]]
)
def test_the_check_of_commands_refuses_what_does_not_exist(words: list[str]) -> None:
    with pytest.raises((click.ClickException, AssertionError)):
        parse(words)


def test_nothing_shipped_holds_a_secret() -> None:
    for path in [p for p in DEPLOY.rglob("*") if p.is_file()]:
        text = path.read_text()
        assert "PRIVATE KEY" not in text, path
        assert not re.search(r"(?=[A-Za-z+]*\d)[A-Za-z0-9+]{40,}", text), path
        assert not re.search(r"(?i)\b(password|passwd|token|secret)\s*[:=]\s*['\"]?\w", text), path
    assert {manifest["kind"] for manifest in manifests()}.isdisjoint({"Secret"})
    for container in containers():
        assert all("value" not in entry for entry in container.get("env", []))


def test_the_image_and_compose_run_without_rights() -> None:
    image = dockerfile()
    assert image["ENTRYPOINT"] == ["fedprofile"]
    assert re.search(r"^USER 10001", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["user"].startswith("10001"), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    ports = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert ports == {"server": [f"{PROXY}:{PROXY}"], "serve": ["127.0.0.1:8080:8080"]}
    assert services()["serve"]["environment"] == ["FEDPROFILE_API_KEY"]
    assert services()["proxy"]["network_mode"] == "service:server"
    assert "shop:ro" in services()["node"]["volumes"][1]


def test_pods_run_without_rights_and_only_the_proxy_is_reachable() -> None:
    ports = {}
    for container in containers():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        for port in container.get("ports", []):
            ports[container["name"]] = port["containerPort"]
    assert ports == {"proxy": int(PROXY), "serve": 8080}
    policies = [m["spec"] for m in manifests() if m["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    opened = [p for p in policies if "ingress" in p]
    named = {p["podSelector"]["matchLabels"]["app"]: p["ingress"] for p in opened}
    assert set(named) == {"fedprofile-server", "fedprofile-serve"}
    assert named["fedprofile-server"] == [{"ports": [{"protocol": "TCP", "port": int(PROXY)}]}]
    (rule,) = named["fedprofile-serve"]
    assert rule["from"][0]["podSelector"] == {"matchLabels": {"fedprofile-client": "true"}}
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_what_pods_refer_to_is_there_or_named_as_missing() -> None:
    """A volume that is mounted is declared; what is not shipped stands in the file's comment."""
    for manifest in (m for m in manifests() if m["kind"] == "StatefulSet"):
        pod = manifest["spec"]["template"]["spec"]
        claims = {c["metadata"]["name"] for c in manifest["spec"]["volumeClaimTemplates"]}
        declared = {volume["name"] for volume in pod["volumes"]} | claims
        mounted = {
            mount["name"]
            for container in [*pod["initContainers"], *pod["containers"]]
            for mount in container["volumeMounts"]
        }
        assert mounted == declared
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
    text = "".join(p.read_text() for p in (DEPLOY / "kubernetes").glob("*.yaml"))
    generated = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    made = {entry["name"] for entry in generated["configMapGenerator"]}
    for kind, name in re.findall(r"(configMap|secret): \{ \w+: ([\w-]+) \}", text):
        word = "ConfigMap" if kind == "configMap" else "Secret"
        assert name in made or re.search(rf"{word}\s#?\s*{name}|{word} {name}", text), name


def probes() -> set[str]:
    """The one-line programs that ask for health."""
    found = {dockerfile()["CMD"][2]} if len(dockerfile()["CMD"]) > 2 else set()
    found |= set(re.findall(r'"(import urllib[^"]*)"', (DEPLOY / "Dockerfile").read_text()))
    for container in containers():
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            if "exec" in container.get(kind, {}):
                found.add(container[kind]["exec"]["command"][2])
    return found


def test_probes_pass_where_health_is_good_and_fail_where_it_is_not(tmp_path: Path) -> None:
    collector = ServerCollector(ServerFolder(tmp_path))
    answers = serve_metrics(0, collector=collector, problem=lambda: "down")
    assert len(probes()) == 2
    for program in probes():
        assert ":9464/" in program
        code = program.replace("9464", str(answers.server_address[1]))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert (done.returncode == 0) == ("live" in program), done.stderr
    answers.shutdown()
    answers.server_close()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode != 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_verify_and_are_closed(path: Path, tmp_path: Path) -> None:
    program = shutil.which("true")
    for file in (path, *path.with_name(f"{path.name}.d").glob("*.conf")):
        text = re.sub(r"^Documentation=.*", "", file.read_text(), flags=re.MULTILINE)
        copy = tmp_path / file.relative_to(path.parent)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(re.sub(r"ExecStart=(?=\S)\S+", f"ExecStart={program}", text))
    copy = tmp_path / path.name
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr.strip()) == (0, "")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(copy)]
    closed = subprocess.run(words, capture_output=True, text=True)
    assert closed.returncode == 0, closed.stdout[-200:]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_come_back_after_a_crash_and_stay_down_after_a_mistake(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["User"] == path.stem == service["StateDirectory"]
    assert service["UMask"] == "0077"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_builds_everything() -> None:
    done = subprocess.run(["kubectl", "kustomize", str(DEPLOY)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kinds = sorted(found["kind"] for found in yaml.safe_load_all(done.stdout))
    assert kinds == sorted([*(m["kind"] for m in manifests()), "ConfigMap"])
    assert "location /v1/fleet/" in done.stdout


def proxy_scripts() -> list[str]:
    found = ["\n".join(services()["proxy"]["command"])]
    return [*found, *(c["args"][0] for c in containers() if c["name"] == "proxy")]


def test_proxies_fill_in_the_supplied_configuration(tmp_path: Path) -> None:
    for script in proxy_scripts():
        out = tmp_path / "nginx.conf"
        line = script.splitlines()[0].replace("/tmp/nginx.conf", str(out))
        line = line.replace("/etc/fedprofile/nginx.conf", str(DEPLOY / "nginx.conf"))
        subprocess.run(["/bin/sh", "-ec", line], check=True)
        made = [x for x in out.read_text().splitlines() if not x.startswith("#")]
        text = "\n".join(made)
        assert f"listen 0.0.0.0:{PROXY} ssl;" in text
        assert "proxy_pass https://127.0.0.1:8000;" in text
        assert not re.search(r"\b(LISTEN|SERVER_DIR|SUPERLINK)\b", text)


def _script(name: str, **places: object) -> str:
    """The script of an init container, on this machine's folders."""
    (text,) = [
        c["args"][0] for c in containers() if c["image"] == IMAGE and f"{name} init" in str(c)
    ]
    for place, path in places.items():
        text = re.sub(rf"(?<= )/{place}\b", str(path), text)
    return text.replace("fedprofile ", f"{sys.executable} -m shared ")


@pytest.mark.slow
def test_init_containers_make_folders_once_and_the_dashboard_asks_what_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPROFILE_CACHE", str(tmp_path / "cache"))
    table = write_tiny_shops(tmp_path / "all" / "data", shops=1)
    (tmp_path / "catalogue").mkdir()
    shutil.copy(table / "items.csv", tmp_path / "catalogue" / "catalogue.csv")
    environment = Federation(tmp_path).environment() | {
        "NAME": "test",
        "ADDRESS": "localhost:8443",
        "TIME_UNIT": "order",
        "EPSILON": "8",
        "DELTA": "1e-6",
        "SHOP": "north",
        "UNIT": "user",
    }
    small = f"--set model.encoder={tmp_path}/all/encoder --set model.dim=6 --set model.rank=4"

    def run(script: str) -> None:
        script = script.replace("server init", f"server init {small} --set model.alpha=4")
        done = subprocess.run(
            ["/bin/sh", "-ec", script], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    places = {"data": tmp_path, "catalogue": tmp_path / "catalogue"}
    run(_script("server", **places))
    server = ServerFolder(tmp_path / "server")
    key = server.signing_key.read_bytes()
    run(_script("server", **places))
    assert server.signing_key.read_bytes() == key

    secret = tmp_path / "secret"
    make_node_key(secret)
    (secret / "node.key").chmod(0o644)  # as a mounted secret may be
    (secret / "invitation").write_bytes(make_invitation(server, "north").content())
    shop = table.rename(tmp_path / "shop")
    for _ in range(2):
        run(_script("node", data=tmp_path, secret=secret, shop=shop))
    node = NodeFolder(tmp_path / "node")
    assert node.settings().limits.epsilon == 8
    assert stat.S_IMODE(node.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(node.root.stat().st_mode) == 0o700

    node.data_report.write_text(json.dumps({"dropped": {"malformed": 2}, "users": 14}))
    families = [*ServerCollector(server).collect(), *NodeCollector(node, ServerPulse()).collect()]
    known = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    dashboard = json.loads((DEPLOY / "grafana" / "federation.json").read_text())
    asked = set(re.findall(r"fedprofile_\w+", json.dumps(dashboard["panels"])))
    assert asked <= known
    assert len(asked) >= 18
    page = (ROOT / "docs" / "deploy.md").read_text()
    written = {f"fedprofile_{name}" for name in re.findall(r"`((?:server|node)_\w+)`", page)}
    assert written == known
    labels = set(re.findall(r"by \(([^)]*)\)", json.dumps(dashboard)))
    words = {word.strip() for group in labels for word in group.split(",")}
    assert words <= {"kind", "reason", "code", "phase", "direction", "outcome", "instance"}
