"""Alerts proved live: a real set, a real Prometheus, each failure caused for real, each alert seen firing and resolved.

``make alert-drill`` runs all of it. promtool (``tests/promtool``) proves every alert on written samples; what it cannot
prove is that a real failure makes a real exporter say so.
"""
