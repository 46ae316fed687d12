"""One command per environment: the set, its monitoring, the application, and proof that the cache works.

``steps`` says which steps there are, ``preflight`` what has to hold before the first one: both are pure. ``looking``
finds out what holds, ``ways`` carries steps out, through kubectl or the Pulumi CLI, and ``running`` runs them in order.
"""
