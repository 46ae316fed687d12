"""What the engine runs for ``--policy-pack infra/policy``: serves the rules until the engine ends it."""

from pulumi_policy import PolicyPack

from cacheclient.contract import APP_NAME
from infra.policy.pack import policies

PolicyPack(APP_NAME, policies())
