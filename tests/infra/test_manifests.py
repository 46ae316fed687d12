"""What every rendered stack must satisfy, whatever its settings: the graph of objects, security, names."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils as schemas

from cacheclient.contract import (
    ACL_CONF,
    DASHBOARD_UIDS,
    REDIS_CONF,
    SENTINEL_CONF,
    UID,
    Job,
    Label,
    Port,
    Script,
    ScriptEnv,
    set_name,
)
from dashboards.boards import BOARDS
from infra import credentials, stack_files
from infra.render import Rendered, render
from infra.settings import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    RenderOnce = Callable[[str], Rendered]

Manifest = dict[str, Any]

# No Kubernetes version has a schema for the kinds of operators; the cluster test has their own definitions.
OPERATOR_KINDS = {"ServiceMonitor", "PrometheusRule"}
# Scripts that people and jobs run in a pod; no field of the pod names them.
ON_DEMAND = {Script.REDIS_ROTATE.value, Script.SENTINEL_ROTATE.value}
CLUSTER_KINDS = {"Namespace", "PriorityClass"}


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    found = [manifest for manifest in manifests if manifest["kind"] == kind]
    assert found, f"no {kind} in the stack"
    return found


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name]
    return found


def templates(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for stateful_set in of_kind(manifests, "StatefulSet"):
        yield stateful_set["metadata"]["name"], stateful_set["spec"]["template"]


def serving(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The pods of the sets, and those of the API where the stack has it."""
    yield from templates(manifests)
    for deployment in (manifest for manifest in manifests if manifest["kind"] == "Deployment"):
        yield deployment["metadata"]["name"], deployment["spec"]["template"]


def containers(manifests: list[Manifest]) -> list[Manifest]:
    found = [c for _, template in templates(manifests) for c in template["spec"]["containers"]]
    assert len(found) == 4
    return found


def environment(container: Manifest) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def pods(manifests: list[Manifest]) -> list[dict[str, str]]:
    """The labels of every pod, with the one that the StatefulSet controller adds."""
    return [
        stateful_set["spec"]["template"]["metadata"]["labels"]
        | {"statefulset.kubernetes.io/pod-name": f"{stateful_set['metadata']['name']}-{ordinal}"}
        for stateful_set in of_kind(manifests, "StatefulSet")
        for ordinal in range(stateful_set["spec"]["replicas"])
    ] + [
        manifest["spec"]["template"]["metadata"]["labels"] for manifest in manifests if manifest["kind"] == "Deployment"
    ]


@pytest.fixture
def cached_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the definitions for each object anew would take a minute."""
    monkeypatch.setattr(schemas, "schema_contents", cached_contents)


cached_contents = functools.cache(schemas.schema_contents)
NEWEST = list(dict.fromkeys(schemas.major_minor(version) for version in schemas.all_versions()))[-3:]


@pytest.mark.usefixtures("cached_schemas")
@pytest.mark.parametrize("version", NEWEST)
def test_every_object_is_valid_in_the_newest_kubernetes_versions(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        if manifest["kind"] not in OPERATOR_KINDS:
            assert kubernetes_validate.validate(manifest, version, strict=True) == version


@pytest.mark.usefixtures("cached_schemas")
def test_the_schema_check_refuses_a_misspelt_key(render_once: RenderOnce) -> None:
    manifest = copy.deepcopy(named(list(render_once("dev").manifests.values()), "StatefulSet", "redis"))
    manifest["spec"]["template"]["spec"]["contaners"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="contaners"):
        kubernetes_validate.validate(manifest, NEWEST[-1], strict=True)


def test_everything_lies_in_the_namespace_of_the_stack(rendered: Rendered, manifests: list[Manifest]) -> None:
    namespace = f"cache-{rendered.stack}"
    for manifest in manifests:
        if manifest["kind"] in CLUSTER_KINDS:
            assert manifest["metadata"]["name"] == namespace
            assert "namespace" not in manifest["metadata"]
        else:
            assert manifest["metadata"]["namespace"] == namespace


def test_every_object_of_a_set_carries_the_stable_labels(rendered: Rendered, manifests: list[Manifest]) -> None:
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        assert labels[Label.PART_OF] == "cachestack"
        if manifest["kind"] not in CLUSTER_KINDS:
            assert labels[Label.INSTANCE] == set_name(rendered.stack)
            assert {Label.NAME, Label.COMPONENT} <= labels.keys()


def test_selectors_use_only_labels_that_never_change(manifests: list[Manifest]) -> None:
    stable = {Label.NAME, Label.INSTANCE, Label.COMPONENT}
    for kind in ("StatefulSet", "PodDisruptionBudget"):
        for manifest in of_kind(manifests, kind):
            assert manifest["spec"]["selector"]["matchLabels"].keys() == stable
    for _, template in serving(manifests):
        assert Label.VERSION not in template["metadata"]["labels"]


def test_every_service_selects_pods_and_targets_ports_that_they_have(manifests: list[Manifest]) -> None:
    ports = {
        template["metadata"]["labels"][Label.COMPONENT]: {
            port["name"]: port["containerPort"] for c in template["spec"]["containers"] for port in c["ports"]
        }
        for _, template in serving(manifests)
    }
    for service in of_kind(manifests, "Service"):
        selected = [labels for labels in pods(manifests) if selects(service["spec"]["selector"], labels)]
        assert selected, service["metadata"]["name"]
        for labels, port in itertools.product(selected, service["spec"]["ports"]):
            assert ports[labels[Label.COMPONENT]][port["targetPort"]] == port["port"]


def test_each_pod_has_a_service_of_its_own_name_that_reaches_it_also_when_not_ready(manifests: list[Manifest]) -> None:
    for labels in pods(manifests):
        name = labels.get("statefulset.kubernetes.io/pod-name")
        if name is None:
            continue
        service = named(manifests, "Service", name)["spec"]
        assert [p for p in pods(manifests) if selects(service["selector"], p)] == [labels]
        assert service["publishNotReadyAddresses"] is True
        assert service.get("clusterIP") != "None"


def test_each_set_is_governed_by_a_headless_service(manifests: list[Manifest]) -> None:
    for stateful_set in of_kind(manifests, "StatefulSet"):
        service = named(manifests, "Service", stateful_set["spec"]["serviceName"])["spec"]
        assert service["clusterIP"] == "None"
        assert service["publishNotReadyAddresses"] is True
        labels = stateful_set["spec"]["template"]["metadata"]["labels"]
        assert selects(service["selector"], labels)


def test_the_service_for_first_contact_reaches_only_ready_sentinels(manifests: list[Manifest]) -> None:
    service = named(manifests, "Service", "sentinel")["spec"]
    assert service["publishNotReadyAddresses"] is False
    assert [port["port"] for port in service["ports"]] == [Port.SENTINEL]


def test_ports_are_those_of_the_contract(manifests: list[Manifest]) -> None:
    found = {port["containerPort"] for c in containers(manifests) for port in c["ports"]}
    assert found == {Port.REDIS, Port.SENTINEL, Port.EXPORTER}


def test_disruption_budgets_let_one_pod_of_each_set_go_at_a_time(manifests: list[Manifest]) -> None:
    budgets = of_kind(manifests, "PodDisruptionBudget")
    for _, template in serving(manifests):
        labels = template["metadata"]["labels"]
        (budget,) = [b for b in budgets if selects(b["spec"]["selector"]["matchLabels"], labels)]
        assert budget["spec"]["maxUnavailable"] == 1


def test_the_claims_are_those_that_the_stateful_sets_will_look_for(
    rendered: Rendered, manifests: list[Manifest]
) -> None:
    settings = parse(rendered.stack, stack_files.read(rendered.stack))
    sizes = {"redis": settings.redis.storage, "sentinel": settings.sentinel.storage}
    expected = {}
    for stateful_set in of_kind(manifests, "StatefulSet"):
        name = stateful_set["metadata"]["name"]
        (template,) = stateful_set["spec"]["volumeClaimTemplates"]
        for ordinal in range(stateful_set["spec"]["replicas"]):
            expected[f"{template['metadata']['name']}-{name}-{ordinal}"] = sizes[name]
    claims = of_kind(manifests, "PersistentVolumeClaim")
    found = {c["metadata"]["name"]: c["spec"]["resources"]["requests"]["storage"] for c in claims}
    assert found == expected


def test_production_is_protected_but_for_the_files_that_an_edit_replaces(render_once: RenderOnce) -> None:
    guarded = (":RedisHA", ":CacheApi", ":Warmers")  # the rest goes after them: the set depends on it
    for stack, protected in (("prod", True), ("dev", False)):
        for registration in render_once(stack).registrations:
            kind = registration.properties.get("kind")
            kept = kind == "Namespace" or any(name in registration.urn for name in guarded)
            assert registration.protect is (protected and kept and kind != "ConfigMap"), registration.urn


def test_a_larger_volume_changes_claims_only_never_the_stateful_set(render_once: RenderOnce) -> None:
    small, large = render_once("dev").manifests, render("dev", overrides=["redis.storage=20Gi"]).manifests
    changed = {name for name in small if small[name] != large[name]}
    assert changed == {f"04-persistentvolumeclaim-data-redis-{n}.yaml" for n in range(3)}


def test_every_mount_has_a_volume_and_every_volume_a_mount(manifests: list[Manifest]) -> None:
    for _, template in templates(manifests):
        spec = template["spec"]
        mounted = {mount["name"] for c in spec["containers"] for mount in c["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]} | {"data"}


def test_the_mounted_config_map_holds_every_file_that_a_container_names(manifests: list[Manifest]) -> None:
    for name, template in templates(manifests):
        spec = template["spec"]
        (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "files"]
        data = named(manifests, "ConfigMap", volume["configMap"]["name"])["data"]
        (server,) = [c for c in spec["containers"] if c["name"] == name]
        (mount,) = [mount for mount in server["volumeMounts"] if mount["name"] == "files"]
        used = set(re.findall(rf"{mount['mountPath']}/([\w.-]+)", json.dumps(spec)))
        assert used <= data.keys()
        conf = {REDIS_CONF, ACL_CONF} if name == "redis" else {SENTINEL_CONF}
        scripts = {script.value for script in Script if script.startswith(f"{name}-")}
        assert data.keys() == conf | scripts | {Script.ASK}
        assert scripts | conf - {ACL_CONF} == used | ON_DEMAND & scripts


def test_every_script_reaches_a_pod(manifests: list[Manifest]) -> None:
    shipped = set().union(*(config_map["data"].keys() for config_map in of_kind(manifests, "ConfigMap")))
    assert {script.value for script in Script} <= shipped


def test_every_variable_that_a_script_demands_is_set_in_its_container(manifests: list[Manifest]) -> None:
    for name, template in templates(manifests):
        (server,) = [c for c in template["spec"]["containers"] if c["name"] == name]
        (volume,) = [volume for volume in template["spec"]["volumes"] if volume["name"] == "files"]
        data = named(manifests, "ConfigMap", volume["configMap"]["name"])["data"]
        demanded = set(
            re.findall(r"\$\{(CACHE_\w+):\?", "".join(text for key, text in data.items() if key.endswith(".sh")))
        )
        assert len(demanded) >= 8
        assert demanded <= environment(server).keys()
        assert environment(server).keys() - {"POD_NAME"} <= set(ScriptEnv)


def test_the_pods_find_each_other_by_the_names_of_their_services(rendered: Rendered, manifests: list[Manifest]) -> None:
    namespace = rendered.outputs["namespace"]
    for name, template in templates(manifests):
        (server,) = [c for c in template["spec"]["containers"] if c["name"] == name]
        variables = environment(server)
        for variable in (ScriptEnv.REDIS_HOSTS, ScriptEnv.SENTINEL_HOSTS):
            for host in variables[variable].split():
                service, _, rest = host.partition(".")
                assert rest == f"{namespace}.svc"
                assert named(manifests, "Service", service)
        hosts = variables[ScriptEnv.REDIS_HOSTS if name == "redis" else ScriptEnv.SENTINEL_HOSTS].split()
        own = [variables[ScriptEnv.SELF].replace("$(POD_NAME)", pod) for pod in (f"{name}-0", f"{name}-1", f"{name}-2")]
        assert own == hosts
        # Kubernetes expands only what was defined before.
        assert next(iter(variables)) == "POD_NAME"


def test_the_set_name_differs_per_environment(render_once: RenderOnce) -> None:
    names = {
        environment(containers(list(render_once(stack).manifests.values()))[0])[ScriptEnv.SET]
        for stack in ("dev", "prod")
    }
    assert names == {"cache-dev", "cache-prod"}


def secret_keys(volume: Manifest) -> dict[bool, set[str]]:
    """The keys of a Secret that a volume shows: those that must exist (False), and those that may (True)."""
    sources = volume["projected"]["sources"] if "projected" in volume else [volume]
    return {
        s["secret"].get("optional", False): {i["key"] for i in s["secret"]["items"]} for s in sources if "secret" in s
    }


def test_pods_mount_only_the_passwords_they_need(manifests: list[Manifest]) -> None:
    made = credentials.secret_files(credentials.generate())
    expected = {
        "redis": {"app", "repl", "sentinel", "exporter", "backup", "ops", "admin", "sentinel-auth"},
        "sentinel": {"sentinel", "ops", "sentinel-auth"},
    }
    for name, template in templates(manifests):
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        keys = {volume: found for volume, content in volumes.items() if (found := secret_keys(content))}
        alternates = {f"{key}.alt" for key in expected[name]}
        assert keys == {"secrets": {False: expected[name], True: alternates}, "exporter": {False: {"exporter.json"}}}
        assert keys["secrets"][False] | keys["exporter"][False] <= made.keys()
        assert volumes["secrets"]["projected"]["defaultMode"] == volumes["exporter"]["secret"]["defaultMode"] == 0o440
        by_container = {
            c["name"]: {mount["name"] for mount in c["volumeMounts"]} for c in template["spec"]["containers"]
        }
        assert "exporter" not in by_container[name]
        assert by_container["exporter"] == {"exporter"}


def test_no_password_travels_in_an_environment_variable_or_an_argument(manifests: list[Manifest]) -> None:
    for container in (c for _, template in serving(manifests) for c in template["spec"]["containers"]):
        assert "secretKeyRef" not in json.dumps(container)
        assert "envFrom" not in container


def test_containers_and_pods_meet_the_restricted_pod_security_level(manifests: list[Manifest]) -> None:
    for container in (c for _, template in serving(manifests) for c in template["spec"]["containers"]):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["runAsNonRoot"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for _, template in serving(manifests):
        spec, context = template["spec"], template["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (UID, UID, UID)
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()


def test_the_namespace_enforces_the_restricted_level(manifests: list[Manifest]) -> None:
    (namespace,) = of_kind(manifests, "Namespace")
    for mode in ("enforce", "audit", "warn"):
        assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_service_accounts_exist_and_carry_no_token(manifests: list[Manifest]) -> None:
    for _, template in serving(manifests):
        account = named(manifests, "ServiceAccount", template["spec"]["serviceAccountName"])
        assert account["automountServiceAccountToken"] is False


def test_every_container_states_command_probes_and_what_it_may_use(manifests: list[Manifest]) -> None:
    for container in (c for _, template in serving(manifests) for c in template["spec"]["containers"]):
        assert container["command"]
        assert {"livenessProbe", "readinessProbe"} <= container.keys()
        for side in ("requests", "limits"):
            assert container["resources"][side].keys() == {"cpu", "memory", "ephemeral-storage"}
        assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


def test_redis_hands_over_before_it_stops_within_the_grace_period(manifests: list[Manifest]) -> None:
    template = dict(templates(manifests))["redis"]
    (redis,) = [c for c in template["spec"]["containers"] if c["name"] == "redis"]
    assert redis["lifecycle"]["preStop"]["exec"]["command"][-1].endswith(Script.REDIS_STOP)
    assert template["spec"]["terminationGracePeriodSeconds"] == 60


@pytest.mark.parametrize("component", ["redis", "sentinel"])
def test_a_changed_setting_changes_the_pod_template_of_its_set_only(component: str) -> None:
    override = {"redis": "redis.maxClients=999", "sentinel": "sentinel.downAfterSeconds=20"}[component]
    before, after = (list(render("dev", overrides=o).manifests.values()) for o in ([], [override]))
    changed = [name for name, template in templates(before) if template != dict(templates(after))[name]]
    assert changed == [component]


def test_what_pods_mount_is_immutable_and_named_by_its_content(manifests: list[Manifest]) -> None:
    for _, template in templates(manifests):
        sources = [volume["configMap"] for volume in template["spec"]["volumes"] if "configMap" in volume]
        (name,) = [source["name"] for source in sources if not source.get("optional")]
        assert named(manifests, "ConfigMap", name)["immutable"] is True
        assert re.fullmatch(r"(redis|sentinel)-files-[0-9a-f]{10}", name)


def test_production_separates_pods_by_node_and_zone_and_dev_only_prefers_to(render_once: RenderOnce) -> None:
    for stack, rule, action in (("prod", "required", "DoNotSchedule"), ("dev", "preferred", "ScheduleAnyway")):
        for _, template in templates(list(render_once(stack).manifests.values())):
            affinity = template["spec"]["affinity"]["podAntiAffinity"]
            assert list(affinity) == [f"{rule}DuringSchedulingIgnoredDuringExecution"]
            (zones,) = template["spec"]["topologySpreadConstraints"]
            assert zones["whenUnsatisfiable"] == action
            assert selects(zones["labelSelector"]["matchLabels"], template["metadata"]["labels"])


def test_without_the_switch_there_are_no_network_policies() -> None:
    kinds = {m["kind"] for m in render("dev", overrides=["network.policies=false"]).manifests.values()}
    assert "NetworkPolicy" not in kinds


def test_service_monitors_find_one_named_port_per_set_and_set_the_job_that_rules_select() -> None:
    manifests = list(render("prod", overrides=["monitoring.labels={release: prometheus}"]).manifests.values())
    jobs = set()
    for monitor in of_kind(manifests, "ServiceMonitor"):
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        selector = monitor["spec"]["selector"]["matchLabels"]
        services = [s for s in of_kind(manifests, "Service") if selects(selector, s["metadata"]["labels"])]
        (endpoint,) = monitor["spec"]["endpoints"]
        scraped = [s for s in services if endpoint["port"] in [port["name"] for port in s["spec"]["ports"]]]
        assert len(scraped) == 1  # each pod once: Prometheus asks the endpoints, not the Service
        (relabeling,) = endpoint["relabelings"]
        assert relabeling["targetLabel"] == "job"
        jobs.add(relabeling["replacement"])
    assert jobs == {Job.REDIS, Job.SENTINEL, Job.API}


def test_the_rules_watch_this_set_and_know_its_size() -> None:
    settings = ["redis.maxClients=500", "redis.replicas=5", "sentinel.replicas=5", "sentinel.quorum=3"]
    settings += ["monitoring.labels={release: prometheus}", "monitoring.grafana=https://grafana.example"]
    settings += ["monitoring.runbooks=https://docs.example/runbooks"]
    settings += ["monitoring.thresholds={connections: 400, hitRate: 0.5}"]
    manifests = list(render("prod", overrides=settings).manifests.values())
    (rule,) = of_kind(manifests, "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    rules = {r["alert"]: r for group in rule["spec"]["groups"] for r in group["rules"] if "alert" in r}
    assert "/ 500 >" in rules["RedisConnectionsNearLimit"]["expr"]
    assert rules["RedisConnectionsHigh"]["expr"].endswith(" > 400")
    assert " < 0.5 and" in rules["CacheHitRateLow"]["expr"]
    assert all('namespace="cache-prod"' in r["expr"] for r in rules.values() if "redis_connected_clients" in r["expr"])
    links = rules["RedisDown"]["annotations"]
    assert links["runbook_url"] == "https://docs.example/runbooks#redisdown"
    assert links["dashboard_url"].startswith("https://grafana.example/d/")


def test_there_is_a_config_map_per_dashboard_for_the_sidecar_of_grafana(render_once: RenderOnce) -> None:
    boards = {
        name: config_map["data"]
        for config_map in of_kind(list(render_once("prod").manifests.values()), "ConfigMap")
        if config_map["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name in [config_map["metadata"]["name"]]
    }
    assert boards.keys() == {f"dashboard-{DASHBOARD_UIDS[key]}" for key in BOARDS}
    for data in boards.values():
        ((file, text),) = data.items()
        assert f"{json.loads(text)['uid']}.json" == file
    without = render("prod", overrides=["monitoring.dashboards=false"]).manifests
    assert not any("dashboard" in name for name in without)


def test_service_monitors_are_left_out_where_the_operator_is_not_installed(render_once: RenderOnce) -> None:
    assert not OPERATOR_KINDS & {m["kind"] for m in render_once("dev").manifests.values()}


def test_exports_tell_applications_how_to_connect_but_no_password(rendered: Rendered) -> None:
    outputs = rendered.outputs
    assert outputs["setName"] == set_name(rendered.stack)
    assert len(outputs["sentinelAddresses"]) == 3
    assert outputs["sentinelAddress"] == f"sentinel.{outputs['namespace']}.svc:26379"
    assert (outputs["secretName"], outputs["passwordKey"]) == ("redis-auth", "app")


def test_everything_goes_through_the_explicit_provider(rendered: Rendered) -> None:
    (provider,) = [r for r in rendered.registrations if r.type == "pulumi:providers:kubernetes"]
    settings = parse(rendered.stack, stack_files.read(rendered.stack))
    assert provider.properties["context"] == provider.properties["clusterIdentifier"] == settings.context
    for registration in rendered.registrations:
        if registration.is_manifest:
            assert registration.provider.startswith(provider.urn)


def test_a_stateful_set_never_waits_for_a_service_that_waits_for_its_pods(rendered: Rendered) -> None:
    by_urn = {r.urn: r for r in rendered.registrations}
    for registration in rendered.registrations:
        if registration.properties.get("kind") == "StatefulSet":
            needed = [by_urn[urn] for urn in registration.dependencies if urn in by_urn]
            services = [r.name for r in needed if r.properties.get("kind") == "Service"]
            assert services == [registration.properties["spec"]["serviceName"]]
            claims = [r for r in needed if r.properties.get("kind") == "PersistentVolumeClaim"]
            assert len(claims) == registration.properties["spec"]["replicas"]
