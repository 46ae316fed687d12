"""The cache at a glance in a terminal: for whoever is on call and has neither Grafana nor a browser at hand."""
