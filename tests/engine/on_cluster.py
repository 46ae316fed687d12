"""The test provider's backend for a real cluster: server-side apply, and waits as the real provider waits."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Final

from tests.engine.provider import Manifest

_OWNER: Final = "pulumi-test"
_WAITED_FOR: Final = {"StatefulSet", "Deployment"}


class OnCluster:
    """Objects of the cluster that KUBECONFIG names."""

    def apply(self, manifest: Manifest, *, seconds: float) -> None:
        """Create or change an object, and wait until its pods are ready."""
        _kubectl(["apply", "--server-side", f"--field-manager={_OWNER}", "--filename=-"], manifest, seconds)
        if manifest["kind"] in _WAITED_FOR:
            metadata = manifest["metadata"]
            what = f"{manifest['kind'].lower()}/{metadata['name']}"
            _kubectl(["rollout", "status", what, "--namespace", metadata["namespace"]], None, seconds)

    def delete(self, manifest: Manifest, *, seconds: float) -> None:
        """Delete an object with what it owns, and wait until it is gone."""
        _kubectl(["delete", "--filename=-", "--ignore-not-found", "--cascade=foreground", "--wait"], manifest, seconds)


def _kubectl(arguments: Sequence[str], manifest: Manifest | None, seconds: float) -> None:
    text = None if manifest is None else json.dumps(manifest)
    command = ["kubectl", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=seconds)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or done.stdout.strip())
