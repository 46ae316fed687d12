"""Flask with a cache: CACHE_URL=redis://localhost CACHE_NAMESPACE=users flask --app flask_app run."""

from flask import Flask, abort, request

from cacheclient import MISSING, Cache, Missing

DATABASE = {"1": "Ada", "2": "Grace"}  # stands for yours
cache = Cache.from_env(type=str)
cache.start()
app = Flask(__name__)


@cache.cached("user:{user}", ttl=600, negative_ttl=30)
def name_of(user: str) -> str | Missing:
    return DATABASE.get(user, MISSING)


@app.get("/users/<user>")
def read(user: str) -> str:
    name = name_of(user)  # process, Redis, else the database
    return abort(404) if name is MISSING else name


@app.put("/users/<user>")
def rename(user: str) -> str:
    DATABASE[user] = request.args["name"]  # first commit,
    name_of.invalidate(user)  # then all processes forget
    return ""
