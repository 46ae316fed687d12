"""The dashboards against Grafana's own types: ``@grafana/schema`` of the newest two majors, read by its compiler.

A key that Grafana does not know is ignored without a word; here it is an error. Needs Node.js and npm.
"""
