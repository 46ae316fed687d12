"""A resource monitor that records what a Pulumi program registers, in place of the engine.

It reads the request itself, not what the SDK's mocks are shown: those get floats for ints, lose nested nulls, and see
neither parents nor protection.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockMonitor
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
# What belongs to the whole cluster goes first, with the namespace.
_FIRST: Final = frozenset({"PriorityClass"})
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
        later = KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER)
        rank = 0 if kind in _FIRST else later
        return f"{rank:02d}-{kind.lower()}-{self.name}.yaml"


@dataclass
class _Found:
    """What was met while values were read: the paths of secrets, and what has no place in a manifest."""

    secrets: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


@dataclass
class Recorder(MockMonitor):
    """Keeps every registration and the stack's outputs.

    The SDK calls it from several threads and loses exceptions raised there: faults are kept too, and raised at the end.
    """

    preview: bool
    registrations: list[Registration] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # every method that would ask the mocks is replaced
        self._lock = threading.Lock()

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """Return the URN that the engine would give: it names the types of all parents, the mocks only the nearest."""
        parents = parent.split("::")[2] if parent else _STACK_TYPE
        qualified = type_ if parents == _STACK_TYPE else f"{parents}${type_}"
        return f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::{qualified}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the name in the engine's protocol
        """Record a resource; its outputs are its inputs, and in a preview they are not known yet."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type != _STACK_TYPE:
            found = _Found()
            registration = Registration(
                urn=urn,
                type=request.type,
                name=request.name,
                parent=request.parent,
                provider=request.provider,
                protect=request.protect,
                dependencies=frozenset(request.dependencies),
                properties=_plain_fields(request.object, "", found),
                secrets=frozenset(found.secrets),
            )
            with self._lock:
                self.registrations.append(registration)
                self.faults.extend(f"{request.name}: {fault}" for fault in found.faults)
        if self.preview:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=f"{request.name}-id", object=request.object)

    def ReadResource(self, request: Any) -> Any:  # noqa: N802  the name in the engine's protocol
        """Refuse: what a cluster holds must not decide what a stack is."""
        with self._lock:
            self.faults.append(f"{request.name}: {request.type} is read from a cluster; there is none here")
        urn = self.make_urn(request.parent, request.type, request.name)
        return resource_pb2.ReadResourceResponse(urn=urn, properties=request.properties)

    def Invoke(self, request: Any) -> Any:  # noqa: N802  the name in the engine's protocol
        """Refuse: there is no provider that could answer."""
        with self._lock:
            self.faults.append(f"{request.tok} is asked of a provider; there is none here")
        return resource_pb2.ResourceInvokeResponse()

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802  the name in the engine's protocol
        """Keep what the stack exports."""
        if request.urn.split("::")[2] == _STACK_TYPE:
            self.outputs = _plain_fields(request.outputs, "", _Found())
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]  # the SDK's is untyped

    def refuse_faults(self) -> None:
        """Raise RenderError if anything recorded cannot be applied, or two resources or objects have one name."""
        faults = [*sorted(self.faults), *self._duplicates()]
        if faults:
            raise RenderError("\n".join(faults))

    def _duplicates(self) -> list[str]:
        names = Counter(registration.urn for registration in self.registrations)
        for registration in self.registrations:
            if registration.is_manifest:
                metadata = registration.properties["metadata"]
                place = (metadata.get("namespace", ""), metadata["name"])
                names[" ".join([registration.properties["kind"], *place])] += 1
        return sorted(f"registered twice: {name}" for name, count in names.items() if count > 1)


def _plain_fields(struct: Any, path: str, found: _Found) -> dict[str, Any]:
    """Return a protocol struct as a sorted dictionary of plain values."""
    fields = struct.fields
    return {key: _plain(fields[key], f"{path}.{key}" if path else key, found) for key in sorted(fields)}


def _plain(value: Any, path: str, found: _Found) -> Any:
    """Return a protocol value as plain data: whole numbers as ints, secrets unwrapped and their paths kept."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        fields = value.struct_value.fields
        if rpc._special_sig_key not in fields:  # noqa: SLF001  the SDK's mark of a wrapped value has no public name
            return _plain_fields(value.struct_value, path, found)
        if fields[rpc._special_sig_key].string_value == rpc._special_secret_sig:  # noqa: SLF001
            found.secrets.add(path)
            return _plain(fields["value"], path, found)
        found.faults.append(f"{path}: assets and resource references have no place in a manifest")
    elif kind == "list_value":
        items = value.list_value.values
        return [_plain(item, f"{path}[{index}]", found) for index, item in enumerate(items)]
    elif kind == "number_value":
        return int(value.number_value) if value.number_value.is_integer() else value.number_value
    elif kind == "null_value":
        found.faults.append(f"{path}: null is sent to Kubernetes as an explicit deletion; leave the key out")
    else:
        return value.string_value if kind == "string_value" else value.bool_value
    return None
