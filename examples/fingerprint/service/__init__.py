"""The first user as a service: FastAPI, PostgreSQL and cacheclient, with and without the cache under the same load.

``make example`` starts a PostgreSQL of its own, fills it, serves reports from it without and with the cache, and prints
latency and throughput side by side; then it kills the Redis master under full load and counts what clients saw.
"""
