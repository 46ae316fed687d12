"""The extra `warm`: a page of JSON becomes entries; the driver of PostgreSQL is there and says who does not answer."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from cacheclient import AsyncCache
from cacheclient.warming import Http, Outcome, Sql, Warmer


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps([{"key": "ada", "value": "Ada"}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


async def main(url: str, page: str) -> None:
    async with AsyncCache.from_url(url, namespace="warm", type=str) as cache:
        async with Warmer(cache, [Http(name="page", url=page)]) as warmer:
            assert (await warmer.run("full")).outcome is Outcome.DONE
        assert await cache.get("ada") == "Ada"
        nobody = Sql(name="nobody", dsn=lambda: "postgresql://127.0.0.1:1/x", query="select 1 as key, 1 as value")
        async with Warmer(cache, [nobody]) as warmer:
            report = await warmer.run("full")
        assert report.outcome is not Outcome.DONE
        assert "127.0.0.1" in str(report), report


if __name__ == "__main__":
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            asyncio.run(main(sys.argv[1], f"http://127.0.0.1:{server.server_port}/"))
        finally:
            server.shutdown()
