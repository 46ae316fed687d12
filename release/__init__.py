"""How a release is made: a checklist that is run. Not part of the distribution.

``checks`` are the pure decisions, ``distribution`` makes wheel, sdist and SBOMs, ``steps`` carries out what a
release consists of, in order, and ``__main__`` is the command behind ``make release``.
"""
