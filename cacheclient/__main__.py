"""The command ``cachestack`` by another name."""

from cacheclient.cli import main

raise SystemExit(main())
