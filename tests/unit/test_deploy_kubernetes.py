"""The Kubernetes manifests: schemas and fields that matter, and the configuration is one that the program takes."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from incident_process.core.errors import ConfigurationError
from incident_process.settings import Settings
from tests.support.authority import Authority

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
WORKLOADS = ("cronjob", "reconcile", "init", "schedule", "dashboard")
RESOURCES = (*WORKLOADS, "configmap", "networkpolicy", "secret.example")
OLDEST = "1.29"
"""The first version of Kubernetes that knows every field."""
PLACE = "/etc/incident-process"


def objects(name: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a file by kind and name."""
    found = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in found}


def workload(name: str) -> dict[str, Any]:
    (found,) = [item for item in objects(name).values() if item["kind"] in {"CronJob", "Job", "Deployment"}]
    return found


def job(name: str) -> dict[str, Any]:
    spec = workload(name)["spec"]
    result: dict[str, Any] = spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec
    return result


def pod(name: str) -> dict[str, Any]:
    result: dict[str, Any] = job(name)["template"]["spec"]
    return result


def container(name: str) -> dict[str, Any]:
    (found,) = pod(name)["containers"]
    result: dict[str, Any] = found
    return result


def secrets() -> dict[str, dict[str, str]]:
    return {item["metadata"]["name"]: item["stringData"] for item in objects("secret.example").values()}


@pytest.mark.parametrize("version", [OLDEST, "1.31", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", RESOURCES)
def test_the_schemas_of_kubernetes_know_every_field(name: str, version: str) -> None:
    for item in objects(name).values():
        kubernetes_validate.validate(item, version, strict=True)


def test_a_field_that_is_not_known_is_found() -> None:
    item = workload("schedule")
    item["spec"]["template"]["spec"]["topologySpreadConstraint"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="topologySpreadConstraint"):
        kubernetes_validate.validate(item, OLDEST, strict=True)


def test_the_page_names_the_oldest_version_that_fits() -> None:
    page = (FOLDER.parents[1] / "docs" / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
    assert f"Kubernetes {OLDEST} or later" in page


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_pod_is_confined(name: str) -> None:
    spec, one = pod(name), container(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(one["resources"]["requests"]) == {"cpu", "memory"}
    assert set(one["resources"]["limits"]) == {"memory"}
    assert {mount["mountPath"] for mount in one["volumeMounts"]} == {PLACE, "/tmp"}
    assert {mount["name"] for mount in one["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_configuration_of_every_pod_is_whole(name: str, tmp_path: Path) -> None:
    """What a pod gets, file and environment, is read by the program's own code."""
    one = container(name)
    (config,) = objects("configmap").values()
    for file, text in config["data"].items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    environ = {item["name"]: item["value"].replace(PLACE, str(tmp_path)) for item in one["env"]}
    for source in one["envFrom"]:
        environ |= secrets()[source["secretRef"]["name"]]
    if name == "dashboard":
        with pytest.raises(ConfigurationError, match=r"\[DASHBOARD\] token"):
            Settings.load(environ=environ)  # an example that everybody knows must open nothing
        environ["INCIDENT_PROCESS__DASHBOARD__TOKEN"] = "a-token-made-for-tests"
    settings = Settings.load(environ=environ)
    assert settings.warnings == ()
    assert settings.database.mysql_password is not None
    assert settings.mongodb.mongo_url is not None
    ports = {port["name"]: port["containerPort"] for port in one.get("ports", [])}
    expected = {"schedule": settings.schedule.http_port, "dashboard": settings.dashboard.port}
    assert ports == ({"http": expected[name]} if name in expected else {})
    assert (settings.dashboard.token is not None) == (name == "dashboard")
    # SIGTERM lets the chunk under way finish; SIGKILL must not come before that.
    if name != "dashboard":
        assert pod(name)["terminationGracePeriodSeconds"] > 2 * settings.schedule.stop_seconds


@pytest.mark.parametrize("name", WORKLOADS)
def test_an_authority_of_one_s_own_is_mounted_where_the_configuration_looks(name: str, tmp_path: Path) -> None:
    (volume,) = [volume for volume in pod(name)["volumes"] if volume["name"] == "config"]
    assert volume["projected"]["sources"] == [
        {"configMap": {"name": "incident-process"}},
        {"configMap": {"name": "incident-process-ca", "optional": True}},
    ]
    text = next(iter(objects("configmap").values()))["data"]["databaseConfig.ini"]
    lines = [line for line in text.splitlines() if line.startswith(";")]
    assert [line.partition(" = ")[2] for line in lines] == [f"{PLACE}/ca.crt"] * 2
    Authority("an authority of one's own").write(tmp_path / "ca.crt")
    config = tmp_path / "databaseConfig.ini"
    config.write_text(text.replace("; ", "").replace(PLACE, str(tmp_path)), encoding="utf-8")
    settings = Settings.load(environ=secrets()["incident-process"] | {"INCIDENT_PROCESS_CONFIG": str(config)})
    assert settings.warnings == ()
    assert settings.api.ca_file == settings.database.mysql_ssl_ca == tmp_path / "ca.crt"


def test_no_secret_stands_in_the_config_map() -> None:
    (config,) = objects("configmap").values()
    text = config["data"]["databaseConfig.ini"].lower()
    assert not [word for word in ("password", "token", "mongo_url", "@") if word in text]


@pytest.mark.parametrize("name", ["cronjob", "reconcile", "init"])
def test_jobs_run_one_at_a_time_and_tell_exit_statuses_apart(name: str) -> None:
    if name != "init":
        assert workload(name)["spec"]["concurrencyPolicy"] == "Forbid"
    assert pod(name)["restartPolicy"] == "Never"  # podFailurePolicy asks for it
    found = [rule for rule in job(name)["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    rules = {tuple(rule["onExitCodes"]["values"]): rule["action"] for rule in found}
    assert rules == {(2, 6): "FailJob"} | ({(5,): "Ignore"} if name != "init" else {})
    assert {rule["onExitCodes"]["containerName"] for rule in found} == {container(name)["name"]}


def test_every_night_is_reconciled_and_every_upgrade_begins_with_init() -> None:
    assert container("reconcile")["args"] == ["reconcile", "--repair"]
    assert len(workload("reconcile")["spec"]["schedule"].split()) == 5
    assert job("reconcile")["activeDeadlineSeconds"] < 24 * 3600, "a night that never ends has to show before the next"
    assert container("init")["args"] == ["init"]
    assert container("init")["env"] == container("schedule")["env"], "another operation_name would be a new operation"
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {"reconcile.yaml", "init.yaml"} <= set(listed)
    page = (FOLDER.parents[1] / "docs" / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
    assert f"delete job {workload('init')['metadata']['name']} --ignore-not-found" in page


def test_the_pods_of_the_schedule_are_spread_and_not_all_taken_at_once() -> None:
    labels = job("schedule")["template"]["metadata"]["labels"]
    hosts, zones = pod("schedule")["topologySpreadConstraints"]
    assert (hosts["topologyKey"], hosts["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
    assert (zones["topologyKey"], zones["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")
    budget = objects("schedule")["PodDisruptionBudget/incident-process-schedule"]["spec"]
    assert 0 < budget["minAvailable"] < workload("schedule")["spec"]["replicas"], "a node could never be drained"
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "after a failed run no pod is ready"
    for selector in (hosts["labelSelector"], zones["labelSelector"], budget["selector"]):
        assert selector == {"matchLabels": labels}


def test_each_pod_is_a_target_for_metrics() -> None:
    template = job("schedule")["template"]
    (port,) = container("schedule")["ports"]
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port["containerPort"]),
        "prometheus.io/path": "/metrics",
    }
    service = objects("schedule")["Service/incident-process-schedule"]["spec"]
    assert service["clusterIP"] == "None", "behind one address, chance would pick a pod"
    assert service["publishNotReadyAddresses"] is True
    (monitor,) = objects("podmonitor").values()
    assert monitor["spec"]["selector"] == {"matchLabels": template["metadata"]["labels"]}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")


def test_the_schedule_is_probed_where_it_answers() -> None:
    one = container("schedule")
    assert one["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert "/readyz" not in str(one["livenessProbe"]), "a receiver that is down is no reason to restart a pod"


@pytest.mark.parametrize("name", ["schedule", "dashboard"])
def test_services_and_deployments_find_their_pods(name: str) -> None:
    found = objects(name)
    labels = workload(name)["spec"]["template"]["metadata"]["labels"]
    assert workload(name)["spec"]["selector"]["matchLabels"] == labels
    assert found[f"Service/incident-process-{name}"]["spec"]["selector"] == labels


def test_the_kustomization_names_what_is_there() -> None:
    found = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
    assert all((FOLDER / name).is_file() for name in found["resources"])
    assert {image["name"] for image in found["images"]} == {container(name)["image"] for name in WORKLOADS}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")
def test_kubectl_builds_the_folder() -> None:
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60, check=True)
    built = list(yaml.safe_load_all(done.stdout))
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
    named = {f"{item['kind']}/{item['metadata']['name']}" for item in built}
    assert named == {name for file in listed["resources"] for name in objects(Path(file).stem)}
    for item in built:
        kubernetes_validate.validate(item, OLDEST, strict=True)
    (image,) = listed["images"]
    containers = re.findall(r"image: (\S+)", done.stdout)
    assert containers == [f"{image['newName']}:{image['newTag']}"] * 4


def picks(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions)
    return selector["matchLabels"].items() <= labels.items() and all(
        labels[one["key"]] in one["values"] for one in expressions
    )


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_network_policy_lets_only_those_in_who_are_named(name: str) -> None:
    labels = job(name)["template"]["metadata"]["labels"]
    policies = objects("networkpolicy").values()
    (policy,) = [item for item in policies if picks(item["spec"]["podSelector"], labels)]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    ports = [port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]]
    assert ports == (["http"] if name in {"schedule", "dashboard"} else [])
    assert all(rule["from"] for rule in policy["spec"].get("ingress", [])), "an empty list would let everybody in"
