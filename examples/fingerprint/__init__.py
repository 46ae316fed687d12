"""A small browser-fingerprint service that reads through cacheclient: the first user, and the show of `make up`.

The service answers "which browser does this user come with?" from a database of browser fingerprints. Four reader
processes look users up through the cache, a writer changes rows and invalidates them, and every value read is checked
against what was written. `python -m examples.fingerprint` runs it against the local environment, first undisturbed,
then while the master is stopped and while it is killed, and prints how each figure compares with its promise.
"""
