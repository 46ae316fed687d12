"""Policies as code: rules that every manifest of ours keeps, for the tests and as a Pulumi policy pack.

``rules`` are pure functions over plain manifests; ``pack`` wraps them for Pulumi; ``__main__`` serves the pack:
``pulumi up --policy-pack infra/policy``.
"""
