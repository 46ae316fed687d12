"""What the Pulumi CLI runs (``main: infra``). It puts this folder first on sys.path, so nothing else is done here."""

from infra.program import deploy

deploy()
