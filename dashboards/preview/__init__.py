"""The dashboards drawn without Grafana: the same panel definitions, real query results, plain SVG.

For review, for documentation, and for machines that have Prometheus but no Grafana. What a person sees here is what the
board says; Grafana's own look, its editor and its zoom are not imitated.
"""
