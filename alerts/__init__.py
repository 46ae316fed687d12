"""Prometheus rules of cachestack, declared once as signals and generated for plain files and PrometheusRule objects."""
