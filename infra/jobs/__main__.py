"""Entry point of ``python -m infra.jobs``."""

from infra.jobs.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
