"""The rules as Pulumi policies. A violation stops ``pulumi up`` before anything is changed; advice is only shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pulumi_policy import EnforcementLevel, ResourceValidationPolicy, StackValidationPolicy

from infra.policy import rules
from infra.policy.workload import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pulumi_policy import Policy, ReportViolation, ResourceValidationArgs, StackValidationArgs

_KUBERNETES: Final = "kubernetes:"


def policies() -> list[Policy]:
    """Return a policy per rule, named after it."""
    return [*map(_object_policy, rules.OBJECT_RULES), *map(_stack_policy, rules.STACK_RULES)]


def _terms(rule: Callable[..., Any]) -> dict[str, Any]:
    level = EnforcementLevel.ADVISORY if rule in rules.ADVICE else EnforcementLevel.MANDATORY
    return {
        "name": rule.__name__.replace("_", "-"),
        "description": (rule.__doc__ or "").strip(),
        "enforcement_level": level,
    }


def _object_policy(rule: Callable[[Manifest], Iterator[str]]) -> Policy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type.startswith(_KUBERNETES):
            for violation in rule(args.props):
                report(violation, None)

    return ResourceValidationPolicy(**_terms(rule), validate=validate)


def _stack_policy(rule: Callable[[tuple[Manifest, ...]], Iterator[tuple[Manifest, str]]]) -> Policy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        urns = {id(resource.props): resource.urn for resource in args.resources}
        objects = tuple(r.props for r in args.resources if r.resource_type.startswith(_KUBERNETES))
        for manifest, violation in rule(objects):
            report(violation, urns[id(manifest)])

    return StackValidationPolicy(**_terms(rule), validate=validate)
