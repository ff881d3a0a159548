"""What is deployed is sound by its own schemas, and keeps to the rules: no root, no secrets, limits, loopback."""

import asyncio
import importlib
import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import jsonschema
import kubernetes_validate
import pytest
import yaml
from dask_kubernetes.operator import KubeCluster
from prefect.client.schemas.objects import FlowRun
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from tasks.executors.clusters import read_cluster

#: Needs Prefect at once, whose import alone takes seconds.
pytestmark = pytest.mark.medium

DEPLOY = Path(__file__).parents[2] / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
#: The oldest Kubernetes that is still given repairs, and the newest whose schemas are at hand.
VERSIONS = ("1.34", kubernetes_validate.latest_version())
OVERLAYS = ("base", "gpu", "jobs", "operator")
#: What a kustomization is, is no resource of a cluster: `kubectl kustomize` judges it. A cluster file is ours.
FILES = sorted(
    path for path in DEPLOY.glob("kubernetes/*/*.yaml") if path.name not in ("kustomization.yaml", "cluster.yaml")
)


def documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(path.read_text())


def deployments() -> list[dict[str, Any]]:
    return [each for path in BASE.glob("*.yaml") for each in documents(path) if each.get("kind") == "Deployment"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def test_the_compose_file_is_sound() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_shows_pages_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_server_of_the_compose_file_has_limits_and_tells_how_it_is(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"]), name
        if "ours" not in name and name not in ("dask-worker", "prefect-worker"):
            assert "healthcheck" in service, name
        if service["image"].startswith("ilcore"):
            assert service["user"] == "10001:10001"
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_sound(path: Path, version: str) -> None:
    for each in documents(path):
        # A patch names what it changes and no more.
        if path.name != "worker.yaml":
            kubernetes_validate.validate(each, version, strict=True)
        else:
            assert {"apiVersion", "kind", "metadata", "spec"} <= set(each)


def test_a_manifest_with_a_mistake_is_noticed() -> None:
    [deployment] = [each for each in deployments() if each["metadata"]["name"] == "prefect-worker"]
    deployment["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def check_pod(pod: dict[str, Any], name: str) -> None:
    """Hold a pod against the rules: nobody, nothing to write on, limits, no token."""
    assert pod["securityContext"]["runAsNonRoot"] is True, name
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert pod["automountServiceAccountToken"] is False, name
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }, name  # fmt: skip
        assert {"cpu", "memory"} <= set(container["resources"]["limits"]), name


def test_pods_run_as_nobody_with_limits_and_probes() -> None:
    assert len(deployments()) == 5
    for each in deployments():
        pod, name = each["spec"]["template"]["spec"], each["metadata"]["name"]
        check_pod(pod, name)
        assert each["spec"]["template"]["metadata"]["labels"]["il-network"] == "member", name
        for container in pod["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name


def test_a_night_is_a_job_as_the_work_pools_worker_makes_it() -> None:
    template = json.loads((DEPLOY / "kubernetes" / "jobs" / "job.json").read_text())
    # There is nothing in it that a server must be asked for: without a client, one would be started.
    made = asyncio.run(
        KubernetesWorkerJobConfiguration.from_template_and_values(template, {"memory": "9Gi"}, client=Mock())
    )
    made.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="quiet-owl"))
    job = made.job_manifest
    # Prefect insists on these two where Kubernetes drops them.
    assert [job["spec"]["template"]["spec"].pop(name) for name in ("parallelism", "completions")] == [1, 1]
    kubernetes_validate.validate(job, VERSIONS[0], strict=True)
    pod = job["spec"]["template"]["spec"]
    check_pod(pod, "night")
    # By this label it reaches our own pods and they it. Prefect writes over some that Kubernetes recommends.
    assert job["spec"]["template"]["metadata"]["labels"]["il-network"] == "member"
    [night] = pod["containers"]
    assert night["args"][:3] == ["prefect", "flow-run", "execute"]
    assert night["resources"]["limits"]["memory"] == "9Gi"
    told = {entry["name"]: entry["value"] for entry in night["env"]}
    # A node that is taken away ends the pod, not the night: the run begins again, and goes on where it was.
    assert told["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert night["envFrom"][0] == {"configMapRef": {"name": "il-clients"}}


def test_workers_of_the_operator_are_sound() -> None:
    told = read_cluster(str(DEPLOY / "kubernetes" / "operator" / "cluster.yaml"))
    spec = told.options["custom_cluster_spec"]
    chart = files("dask_kubernetes") / "operator" / "deployment" / "helm" / "dask-kubernetes-operator"
    crds = chart / "crds" / "daskcluster.yaml"
    [version] = next(yaml.safe_load_all(crds.read_text()))["spec"]["versions"]
    jsonschema.validate(spec, version["schema"]["openAPIV3Schema"])
    for part in ("scheduler", "worker"):
        check_pod(spec["spec"][part]["spec"], part)
        assert spec["spec"][part]["metadata"]["labels"] == {"il-network": "member"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": part}, "spec": spec["spec"][part]["spec"]}
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    kubernetes_validate.validate(service | {"spec": spec["spec"]["scheduler"]["service"]}, VERSIONS[0], strict=True)
    # What the file says goes to this class as it is.
    assert set(told.options) <= set(inspect.signature(KubeCluster.__init__).parameters)


def test_no_secret_is_written_down() -> None:
    for path in (*FILES, *DEPLOY.glob("kubernetes/*/kustomization.yaml")):
        for each in documents(path):
            assert each["kind"] != "Secret", path
            assert "secretGenerator" not in each, path
    for each in deployments():
        for container in each["spec"]["template"]["spec"]["containers"]:
            named = [
                entry for entry in container.get("env", ()) if "DATABASE" in entry["name"] or "STORE" in entry["name"]
            ]
            assert all("secretKeyRef" in entry["valueFrom"] for entry in named)


def test_servers_of_containers_and_pods_have_doors(compose: dict[str, Any]) -> None:
    words = {
        "prefect-server": "tasks.doors.asgi",
        "mlflow-server": "--app-name il",
        "dask-scheduler": "tasks.doors.dask_pages",
    }
    pods = {each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0] for each in deployments()}
    for name, door in words.items():
        service, pod = compose["services"][name], pods[name]
        assert door in " ".join(service["command"])
        assert "IL_PASSWORD=" in " ".join(service["command"])
        assert door in " ".join(pod["command"])
        assert {"secretRef": {"name": "il-platform"}} in pod["envFrom"]
        assert service["environment"]["IL_HOSTS"] == name
        assert {"name": "IL_HOSTS", "value": name} in pod["env"]
        # A kubelet asks by the pod's address, which is no name that the door knows.
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert pod[probe]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}], name
    for name in ("prefect-worker", "dask-worker"):
        assert {"secretRef": {"name": "il-platform"}} in pods[name]["envFrom"]
    assert "PREFECT_API_AUTH_STRING=" in " ".join(compose["services"]["prefect-worker"]["command"])


def test_nobody_from_outside_is_let_in() -> None:
    rules = {each["metadata"]["name"]: each["spec"] for each in documents(BASE / "network.yaml")}
    assert rules["nobody-in"]["podSelector"] == {}
    assert "ingress" not in rules["nobody-in"]
    assert rules["each-other"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": {"il-network": "member"}}}]}]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: kustomizations are not built")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomizations_build(overlay: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / "kubernetes" / overlay], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    names = [(each["kind"], each["metadata"]["name"]) for each in built]
    assert len(names) == len(set(names))
    for each in built:
        kubernetes_validate.validate(each, VERSIONS[0], strict=True)
    workers = [each for each in built if each["metadata"]["name"] == "dask-worker"]
    limits = workers[0]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits.get("nvidia.com/gpu") == ("1" if overlay == "gpu" else None)
    assert workers[0]["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed: units are not verified")
def test_units_are_sound(tmp_path: Path) -> None:
    unit = tmp_path / "ilcore.service"
    # Programs that are not on this machine are no mistake of the unit.
    unit.write_text(
        (DEPLOY / "systemd" / "ilcore.service").read_text().replace("/opt/ilcore/.venv/bin/il", "/bin/true")
    )
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ilcore.service" not in done.stderr, done.stderr


def test_the_image_holds_what_the_project_is_made_of() -> None:
    text = (DEPLOY / "container" / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert text.index("USER ") > text.rindex("RUN ")
    copied = {
        word
        for line in text.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    kept = {line[1:] for line in (DEPLOY.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == kept
    for name in ("ilcore", "tasks", "flows"):
        assert importlib.import_module(name)
        assert name in copied
