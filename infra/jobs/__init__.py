"""Backup and restore: what runs as Jobs in the cluster, and by hand. See docs/backup.md."""
