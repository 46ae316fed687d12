"""A resource monitor that records what a Pulumi program registers, in place of the engine.

It reads the request itself, not what the SDK's mocks are shown: those get floats for ints, lose nested nulls, and see
neither parents nor protection.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Final

from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockMonitor, Mocks
from pulumi.runtime.proto import resource_pb2

# The order in which objects can be applied one after the other; kinds that are not listed come last.
KIND_ORDER: Final = (
    "Namespace",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolumeClaim",
    "NetworkPolicy",
    "Service",
    "PodDisruptionBudget",
    "StatefulSet",
)
_STACK_TYPE: Final = "pulumi:pulumi:Stack"


class RenderError(ValueError):
    """The stack cannot be rendered; the message says why, in one line or one line per fault."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One resource as the program registered it. ``secrets`` are the paths of its secret values, here in the clear."""

    urn: str
    type: str
    name: str
    parent: str
    provider: str
    protect: bool
    dependencies: frozenset[str]
    properties: dict[str, Any]
    secrets: frozenset[str]

    @property
    def is_manifest(self) -> bool:
        """Whether it is a Kubernetes object."""
        return self.type.startswith("kubernetes:")

    @property
    def file_name(self) -> str:
        """A file name that sorts in the order of application and stays when the object's content changes."""
        kind = self.properties["kind"]
        rank = KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER)
        return f"{rank:02d}-{kind.lower()}-{self.name}.yaml"


class _NoProvider(Mocks):
    """Answers nothing: the program reads nothing from a cluster, and a resource's outputs are its inputs."""

    def call(self, args: Any) -> Any:
        raise RenderError(f"the program calls {args.token}, which only a provider can answer")

    def new_resource(self, args: Any) -> Any:
        raise RenderError(f"the program reads {args.name} of type {args.typ}, which only a provider can answer")


@dataclass
class Recorder(MockMonitor):
    """Keeps every registration and the stack's outputs. The SDK calls it from several threads."""

    preview: bool
    registrations: list[Registration] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(_NoProvider())
        self._lock = threading.Lock()

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the name in the engine's protocol
        """Record a resource; its outputs are its inputs, and in a preview they are not known yet."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type != _STACK_TYPE:
            secrets: set[str] = set()
            registration = Registration(
                urn=urn,
                type=request.type,
                name=request.name,
                parent=request.parent,
                provider=request.provider,
                protect=request.protect,
                dependencies=frozenset(request.dependencies),
                properties=_plain_fields(request.object, "", secrets),
                secrets=frozenset(secrets),
            )
            with self._lock:
                self.registrations.append(registration)
        if self.preview:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=f"{request.name}-id", object=request.object)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802  the name in the engine's protocol
        """Keep what the stack exports."""
        if request.urn.split("::")[2] == _STACK_TYPE:
            self.outputs = _plain_fields(request.outputs, "", set())
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]  # the SDK's is untyped

    def refuse_duplicates(self) -> None:
        """Raise RenderError if two resources share a URN, or two objects kind, namespace and name."""
        seen: set[tuple[str, ...]] = set()
        for registration in self.registrations:
            identities: list[tuple[str, ...]] = [(registration.urn,)]
            if registration.is_manifest:
                metadata = registration.properties["metadata"]
                place = (metadata.get("namespace", ""), metadata["name"])
                identities.append((registration.properties["kind"], *place))
            for identity in identities:
                if identity in seen:
                    raise RenderError(f"registered twice: {' '.join(identity)}")
                seen.add(identity)


def _plain_fields(struct: Any, path: str, secrets: set[str]) -> dict[str, Any]:
    """Return a protocol struct as a sorted dictionary of plain values."""
    fields = struct.fields
    return {key: _plain(fields[key], f"{path}.{key}" if path else key, secrets) for key in sorted(fields)}


def _plain(value: Any, path: str, secrets: set[str]) -> Any:
    """Return a protocol value as plain data: whole numbers as ints, secrets unwrapped and their paths collected."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        fields = value.struct_value.fields
        if rpc._special_sig_key not in fields:  # noqa: SLF001  the SDK's mark of a wrapped value has no public name
            return _plain_fields(value.struct_value, path, secrets)
        if fields[rpc._special_sig_key].string_value != rpc._special_secret_sig:  # noqa: SLF001
            raise RenderError(f"{path}: assets and resource references have no place in a manifest")
        secrets.add(path)
        return _plain(fields["value"], path, secrets)
    if kind == "list_value":
        items = value.list_value.values
        return [_plain(item, f"{path}[{index}]", secrets) for index, item in enumerate(items)]
    if kind == "number_value":
        return int(value.number_value) if value.number_value.is_integer() else value.number_value
    if kind == "null_value":
        raise RenderError(f"{path}: null is sent to Kubernetes as an explicit deletion; leave the key out")
    return value.string_value if kind == "string_value" else value.bool_value
