"""The cache dashboards as code, in one house style over grafanalib."""
