"""The Kubernetes manifests: the fields that matter are set, and the configuration is one that the program takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from incident_process.errors import ConfigurationError
from incident_process.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
WORKLOADS = ("cronjob", "schedule", "dashboard")
PLACE = "/etc/incident-process"


def objects(name: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a file by kind and name."""
    found = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in found}


def workload(name: str) -> dict[str, Any]:
    (found,) = [item for item in objects(name).values() if item["kind"] in {"CronJob", "Deployment"}]
    return found


def pod(name: str) -> dict[str, Any]:
    spec = workload(name)["spec"]
    template: dict[str, Any] = (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]
    result: dict[str, Any] = template["spec"]
    return result


def container(name: str) -> dict[str, Any]:
    (found,) = pod(name)["containers"]
    result: dict[str, Any] = found
    return result


def secrets() -> dict[str, dict[str, str]]:
    return {item["metadata"]["name"]: item["stringData"] for item in objects("secret.example").values()}


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


def test_no_secret_stands_in_the_config_map() -> None:
    (config,) = objects("configmap").values()
    text = config["data"]["databaseConfig.ini"].lower()
    assert not [word for word in ("password", "token", "mongo_url", "@") if word in text]


def test_the_cron_job_lets_one_run_at_a_time_and_tells_exit_statuses_apart() -> None:
    spec = workload("cronjob")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy asks for it
    rules = {
        tuple(rule["onExitCodes"]["values"]): rule["action"]
        for rule in job["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    }
    assert rules == {(2, 6): "FailJob", (5,): "Ignore"}
    assert {
        rule["onExitCodes"]["containerName"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    } == {container("cronjob")["name"]}


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


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_network_policy_lets_only_those_in_who_are_named(name: str) -> None:
    spec = workload(name)["spec"]
    template = (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]
    policies = objects("networkpolicy").values()
    labels = template["metadata"]["labels"]
    (policy,) = [item for item in policies if item["spec"]["podSelector"]["matchLabels"] == labels]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    ports = [port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]]
    assert ports == ([] if name == "cronjob" else ["http"])
    assert all(rule["from"] for rule in policy["spec"].get("ingress", [])), "an empty list would let everybody in"
