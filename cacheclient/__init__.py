"""cacheclient: a two-tier cache for Python services, correct under races and failover."""
