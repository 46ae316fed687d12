"""A Kubernetes provider for Pulumi's engine in place of the real plugin, which package registries do not have.

It speaks the engine's own protocol (``ResourceProvider``) and attaches by ``PULUMI_DEBUG_PROVIDERS=kubernetes:PORT``.
As the real one it says which changes replace an object, and gives objects to a backend: one keeps them in memory, one
applies them to a cluster.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

Manifest = dict[str, Any]

# What the API server lets nobody change in a StatefulSet, apart from the template, the number of pods and the like.
_MUTABLE_SET: Final = {
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
}
_FREE_CLAIM: Final = {"resources", "volumeAttributesClassName"}


class Backend(Protocol):
    """Where objects live."""

    def apply(self, manifest: Manifest, *, seconds: float) -> None:
        """Create or change an object, and wait until it works."""

    def delete(self, manifest: Manifest, *, seconds: float) -> None:
        """Delete an object, and wait until it is gone."""


@dataclass
class Memory:
    """Objects in a dictionary. Two resources cannot own one object, as with the real provider."""

    objects: dict[str, Manifest] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, manifest: Manifest, *, seconds: float) -> None:  # noqa: ARG002  nothing to wait for
        with self.lock:
            self.objects[identity(manifest)] = manifest

    def delete(self, manifest: Manifest, *, seconds: float) -> None:  # noqa: ARG002
        with self.lock:
            self.objects.pop(identity(manifest), None)


def identity(manifest: Manifest) -> str:
    """Return kind, namespace and name: what makes an object that object."""
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']}"


def replacing(old: Manifest, new: Manifest) -> list[str]:
    """Return the properties whose change needs a new object."""
    paths = [] if identity(old) == identity(new) else ["metadata"]
    kind = new["kind"]
    if kind in {"ConfigMap", "Secret"} and old.get("immutable") and old.get("data") != new.get("data"):
        paths.append("data")
    free = {"StatefulSet": _MUTABLE_SET, "PersistentVolumeClaim": _FREE_CLAIM}.get(kind)
    if free is not None:
        before, after = old.get("spec", {}), new.get("spec", {})
        paths += [
            f"spec.{key}"
            for key in before.keys() | after.keys()
            if key not in free and before.get(key) != after.get(key)
        ]
    if kind == "Job" and old.get("spec") != new.get("spec"):
        paths.append("spec")
    return sorted(paths)


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The provider's side of the engine's protocol. ``calls`` are what the engine asked for, previews left out."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.calls: list[tuple[str, str]] = []
        self.checked: list[str] = []

    def forget(self) -> None:
        """Begin a new record."""
        self.calls.clear()
        self.checked.clear()

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "configured by Configure alone")

    def Attach(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return plugin_pb2.PluginInfo(version="4.34.2")

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return _diff(_plain(request.olds), _plain(request.news), [])

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        self.checked.append(request.urn)
        return provider_pb2.CheckResponse(inputs=request.news)

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        old, new = _plain(request.old_inputs), _plain(request.news)
        return _diff(old, new, replacing(old, new))

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        manifest = _plain(request.properties)
        if not request.preview:
            self.calls.append(("create", request.urn))
            self._act(self.backend.apply, manifest, request.timeout, context)
        return provider_pb2.CreateResponse(id=identity(manifest).partition(" ")[2], properties=request.properties)

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not request.preview:
            self.calls.append(("update", request.urn))
            self._act(self.backend.apply, _plain(request.news), request.timeout, context)
        return provider_pb2.UpdateResponse(properties=request.news)

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls.append(("delete", request.urn))
        self._act(self.backend.delete, _plain(request.properties), request.timeout, context)
        return empty_pb2.Empty()

    def Read(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return empty_pb2.Empty()

    def _act(self, action: Any, manifest: Manifest, timeout: float, context: Any) -> None:
        try:
            action(manifest, seconds=timeout or 300)
        except Exception as error:  # noqa: BLE001  whatever it is, the engine is told
            context.abort(grpc.StatusCode.UNKNOWN, str(error))


def _plain(struct: Any) -> Manifest:
    plain: Manifest = _whole(json_format.MessageToDict(struct))
    return plain


def _whole(value: Any) -> Any:
    """Return a value with whole numbers as such: the protocol knows only floating-point numbers."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _diff(old: Mapping[str, Any], new: Mapping[str, Any], replaces: list[str]) -> Any:
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    kind = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
    # An object cannot stand beside its replacement of the same name.
    same_place = "metadata" not in replaces
    return provider_pb2.DiffResponse(
        changes=kind, diffs=changed, replaces=replaces, deleteBeforeReplace=bool(replaces) and same_place
    )


@contextmanager
def serving(provider: Provider) -> Iterator[int]:
    """Serve a provider on a free port of this machine."""
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait()
