"""The renderer: what it records, what it refuses, the files it writes, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest
import yaml

from cacheclient.contract import EXPORTER_AUTH_FILE, PASSWORD_FILES, SENTINEL_AUTH_FILE
from infra import credentials, program, recorder, render
from infra.settings_schema import Passwords

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    RenderOnce = Callable[[str], render.Rendered]


def passwords() -> dict[str, str]:
    return credentials.generate().files()


def config_map(logical: str, data: Any, name: str = "c") -> None:
    kubernetes.core.v1.ConfigMap(logical, metadata={"name": name, "namespace": "n"}, data=data)


def run(monkeypatch: pytest.MonkeyPatch, deploy: Callable[[], None], **options: Any) -> render.Rendered:
    """Render a program of the test's own in place of the real one."""
    monkeypatch.setattr(program, "deploy", deploy)
    return render.render("dev", **options)


def test_two_renders_in_one_process_and_one_in_another_give_the_same_bytes(tmp_path: Path) -> None:
    renders = [[render.text(manifest) for manifest in render.render("prod").manifests.values()] for _ in range(2)]
    command = [sys.executable, "-m", "infra.render", "prod", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": "7"})
    assert renders[0] == renders[1] == [path.read_text() for path in sorted(tmp_path.iterdir())]


def test_a_preview_registers_the_same_resources_although_no_output_is_known(render_once: RenderOnce) -> None:
    up, preview = render_once("prod"), render.render("prod", preview=True)
    assert [r.urn for r in preview.registrations] == [r.urn for r in up.registrations]
    assert preview.manifests == up.manifests


def test_whole_numbers_stay_whole_and_nested_values_keep_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def deploy() -> None:
        kubernetes.core.v1.Service(
            "s",
            metadata={"name": "s", "namespace": "n"},
            spec={"ports": [{"port": 6379, "name": "redis"}], "publish_not_ready_addresses": True},
        )

    (service,) = run(monkeypatch, deploy).manifests.values()
    assert service["spec"] == {"ports": [{"name": "redis", "port": 6379}], "publishNotReadyAddresses": True}
    assert type(service["spec"]["ports"][0]["port"]) is int


def test_a_secret_is_unwrapped_and_its_path_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def deploy() -> None:
        config_map("c", {"plain": "1", "hidden": pulumi.Output.secret("2")})

    rendered = run(monkeypatch, deploy)
    assert rendered.registrations[0].properties["data"] == {"plain": "1", "hidden": "2"}
    assert rendered.registrations[0].secrets == {"data.hidden"}


def test_two_objects_of_one_kind_and_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def deploy() -> None:
        config_map("a", {}, name="same")
        config_map("b", {}, name="same")

    with pytest.raises(recorder.RenderError, match="registered twice: ConfigMap n same"):
        run(monkeypatch, deploy)


def test_two_resources_of_one_logical_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def deploy() -> None:
        config_map("a", {}, name="one")
        config_map("a", {}, name="two")

    with pytest.raises(recorder.RenderError, match="registered twice: urn:pulumi:dev::cachestack::"):
        run(monkeypatch, deploy)


def test_a_text_made_from_an_unknown_value_is_an_error_not_a_python_object(monkeypatch: pytest.MonkeyPatch) -> None:
    def deploy() -> None:
        config_map("c", {"text": f"{pulumi.Output.from_input('x')}"})

    with pytest.raises(Exception, match="Calling __str__ on an Output"):
        run(monkeypatch, deploy)


def test_a_null_is_refused_with_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def deploy() -> None:
        kubernetes.apiextensions.CustomResource(
            "m", api_version="a/v1", kind="M", metadata={"name": "m"}, spec={"a": [{"b": None}]}
        )

    with pytest.raises(recorder.RenderError, match=r"^m: spec\.a\[0\]\.b: null"):
        run(monkeypatch, deploy)


def test_a_program_that_asks_a_provider_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def deploy() -> None:
        kubernetes.core.v1.ConfigMap.get("c", "n/c")

    with pytest.raises(recorder.RenderError, match=r"^c: kubernetes:core/v1:ConfigMap is read from a cluster"):
        run(monkeypatch, deploy)


def test_a_program_that_calls_a_function_of_a_provider_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def deploy() -> None:
        pulumi.runtime.invoke_output("aws:index/getRegion:getRegion", {})

    with pytest.raises(recorder.RenderError, match=r"^aws:index/getRegion:getRegion is asked of a provider"):
        run(monkeypatch, deploy)


def test_after_a_failed_render_the_next_one_works() -> None:
    with pytest.raises(recorder.RenderError, match=r"redis\.memory: 'x' is not allowed"):
        render.render("dev", overrides=["redis.memory=x"])
    assert render.render("dev").manifests


def test_faults_are_found_before_anything_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    register = recorder.Recorder.RegisterResource

    def spy(self: recorder.Recorder, request: Any) -> Any:
        seen.append(request.type)
        return register(self, request)

    monkeypatch.setattr(recorder.Recorder, "RegisterResource", spy)
    with pytest.raises(recorder.RenderError):
        render.render("dev", overrides=["sentinel.quorum=1"])
    assert seen == ["pulumi:pulumi:Stack"]


def test_settings_reach_the_program_as_the_engine_sends_them_texts_only() -> None:
    texts = {"redis": '{"replicas": 5}', "protect": "true", "namespace": "true", "spread": "hard", "network": "{oops"}
    assert program.decode(texts) == {
        "redis": {"replicas": 5},
        "protect": True,
        "namespace": "true",
        "spread": "hard",
        "network": "{oops",
    }


def test_passwords_of_the_stack_appear_in_its_secret_and_nowhere_else() -> None:
    given = passwords()
    rendered = render.render("dev", values={"passwords": given})
    (secret,) = [r for r in rendered.registrations if r.properties.get("kind") == "Secret"]
    files = secret.properties["stringData"]
    assert {name: files[name] for name in given} == given
    assert secret.secrets == {"stringData"}
    others = [r.properties for r in rendered.registrations if r is not secret]
    elsewhere = json.dumps([others, rendered.outputs])
    assert not [name for name, password in given.items() if password in elsewhere]
    assert not any(r.secrets for r in rendered.registrations if r is not secret)


def test_without_passwords_in_the_stack_no_secret_is_rendered(render_once: RenderOnce) -> None:
    assert "Secret" not in {manifest["kind"] for manifest in render_once("dev").manifests.values()}


def test_the_command_writes_checks_and_removes_only_its_own_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    arguments = ["dev", "--out", str(folder)]
    assert render.main([*arguments, "--set", "monitoring.enabled=true"]) == 0
    assert (folder / "09-servicemonitor-redis-monitor.yaml").exists()
    (folder / "mine.yaml").write_text("kind: Mine\n")
    assert render.main([*arguments, "--check"]) == 1
    assert "09-servicemonitor-redis-monitor.yaml: not part of the stack" in capsys.readouterr().out
    assert render.main(arguments) == 0
    assert render.main([*arguments, "--check"]) == 0
    assert not list(folder.glob("09-*"))
    assert (folder / "mine.yaml").exists()
    (folder / "08-statefulset-redis.yaml").unlink()
    with (folder / "00-namespace-namespace.yaml").open("a") as file:
        file.write("# touched\n")
    capsys.readouterr()
    assert render.main([*arguments, "--check"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        "00-namespace-namespace.yaml: differs",
        "08-statefulset-redis.yaml: missing",
    ]


def test_the_command_says_how_the_passwords_come_into_the_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    render.main(["dev", "--out", str(tmp_path)])
    assert "python -m infra.credentials dev | kubectl create -f -" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test"], "infra.render: stack test: there is no Pulumi.test.yaml; allowed: dev, prod, staging\n"),
        (["dev", "--set", "redis.image"], "infra.render: 'redis.image': path.to.key=value is expected"),
        (
            ["dev", "--set", "redis.memory=1"],
            "infra.render: stack dev: 1 fault(s) in its settings\n  redis.memory: 1 is not",
        ),
        (["dev", "--out", "/dev/null/x"], "infra.render: [Errno 20] Not a directory"),
    ],
)
def test_bad_input_gives_one_clear_message_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render.main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith(message)
    assert not out


def test_the_yaml_reads_back_as_the_object(rendered: render.Rendered) -> None:
    for manifest in rendered.manifests.values():
        assert yaml.safe_load(render.text(manifest)) == manifest


def test_scripts_are_written_as_readable_blocks(render_once: RenderOnce) -> None:
    texts = [render.text(m) for m in render_once("dev").manifests.values() if m["kind"] == "ConfigMap"]
    assert all("redis-start.sh: |\n" in text for text in texts if "redis-start.sh" in text)
    assert len(texts) == 2


def test_the_credentials_command_prints_a_secret_with_fresh_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    secrets = []
    for _ in range(2):
        assert credentials.main(["dev"]) == 0
        secrets.append(yaml.safe_load(capsys.readouterr().out))
    files, again = (secret["stringData"] for secret in secrets)
    assert secrets[0]["metadata"] == {"name": "redis-auth", "namespace": "cache-dev"}
    assert files.keys() == {*PASSWORD_FILES, EXPORTER_AUTH_FILE}
    assert not set(files.values()) & set(again.values())
    addresses = json.loads(files[EXPORTER_AUTH_FILE])
    assert addresses["redis://exporter@127.0.0.1:6379"] == addresses["redis://127.0.0.1:6379"] == files["exporter"]
    assert addresses["redis://127.0.0.1:26379"] == files[SENTINEL_AUTH_FILE]


def test_the_credentials_for_pulumi_are_accepted_as_the_stacks_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    assert credentials.main(["dev", "--json"]) == 0
    rendered = render.render("dev", values={"passwords": capsys.readouterr().out.strip()})
    assert [m["metadata"]["name"] for m in rendered.manifests.values() if m["kind"] == "Secret"] == ["redis-auth"]


def test_credentials_of_an_unknown_stack_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert credentials.main(["test"]) == 2
    assert capsys.readouterr().err.startswith("infra.credentials: stack test: there is no Pulumi.test.yaml")


def test_generated_passwords_satisfy_the_settings() -> None:
    made = credentials.generate()
    assert isinstance(made, Passwords)
    assert all(len(password) >= 43 for password in made.files().values())
