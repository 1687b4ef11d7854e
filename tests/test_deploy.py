"""What is in deploy/ for several machines: valid, not root, and of settings that there are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings

DEPLOY = Path(__file__).parent.parent / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
IMAGE = "registry.example.org/recollect"
KNOWN = {f"RECOLLECT_{name.upper()}" for name in Settings.model_fields}

Object = dict[str, Any]


def objects(path: Path) -> list[Object]:
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def pods() -> Iterator[tuple[str, Object]]:
    """The name of each workload, and what its pods are made by."""
    for path in MANIFESTS:
        for found in objects(path):
            if "template" in found["spec"]:
                yield found["metadata"]["name"], found["spec"]["template"]["spec"]


PODS = dict(pods())


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_fit_the_schemas_of_kubernetes(path: Path) -> None:
    for found in objects(path):
        kubernetes_validate.validate(found, "1.37", strict=True)


def test_what_does_not_fit_is_found() -> None:
    wrong = objects(DEPLOY / "kubernetes" / "server.yaml")[0]
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProbes"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_nothing_runs_as_root_or_without_bounds(pod: Object) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", ["server", "encoder"])
def test_probes_ask_the_routes_for_them(name: str) -> None:
    [container] = PODS[name]["containers"]
    assert container["image"] == IMAGE
    assert container["livenessProbe"]["httpGet"] == {"path": "/health/live", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/health/ready", "port": "http"}
    assert container["startupProbe"]["httpGet"] == {"path": "/health/live", "port": "http"}


def test_the_parts_find_each_other() -> None:
    services = {found["metadata"]["name"]: found for path in MANIFESTS for found in objects(path)}
    [server] = PODS["server"]["containers"]
    addresses = [item["value"] for item in server["env"] if "://" in item.get("value", "")]
    hosts = {
        host.split(".")[-1] for address in addresses for host in re.findall(r"(?:http|redis)://([\w.-]+)", address)
    }
    assert hosts == {"encoder", "bucket", "redis"}
    assert all(services[host]["kind"] in {"Service", "StatefulSet"} for host in hosts)
    encoders = next(found for found in objects(DEPLOY / "kubernetes" / "encoder.yaml"))["spec"]["replicas"]
    assert sum(address.count("http://encoder-") for address in addresses) == encoders


def test_the_secret_that_is_told_has_what_is_used() -> None:
    told = re.findall(r"--from-literal=([\w-]+)", (DEPLOY / "kubernetes" / "server.yaml").read_text())
    used = set(re.findall(r"name: recollect, key: ([\w-]+)", "".join(path.read_text() for path in MANIFESTS)))
    assert used == set(told)


def test_all_settings_are_known() -> None:
    texts = [path.read_text() for path in (*MANIFESTS, DEPLOY / "compose.yml")]
    named = {name for text in texts for name in re.findall(r"RECOLLECT_\w+", text)}
    assert named - KNOWN == set()
    assert {"RECOLLECT_STORAGE_URL", "RECOLLECT_ENCODER_URL", "RECOLLECT_DATABASE_URL"} <= named


def test_compose_opens_ports_to_this_machine_only() -> None:
    composed = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    services = composed["services"]
    assert {"server-1", "server-2", "encoder", "postgres", "bucket", "redis"} <= services.keys()
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
    mounted = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert mounted == composed["volumes"].keys()
    for service in services.values():
        assert set(service.get("depends_on", {})) <= services.keys()
