"""The local environment: the Redis set, its Sentinels and their monitoring as real processes on this machine.

The processes read the same configuration text and run the same scripts as the pods of a cluster; only paths and
addresses differ. Everything lives below one directory (``.local`` in the current one), and nothing needs root.

``python -m infra.local --help`` shows the commands; ``infra.local.control.Environment`` is the interface for programs.
"""
