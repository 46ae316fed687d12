"""FastAPI with a cache: CACHE_URL=redis://localhost CACHE_NAMESPACE=users granian --interface asgi fastapi_app:app."""

from fastapi import FastAPI, HTTPException

from cacheclient import MISSING, AsyncCache, Missing

DATABASE = {"1": "Ada", "2": "Grace"}  # stands for yours
cache = AsyncCache.from_env(type=str)
app = FastAPI(lifespan=cache.lifespan)


async def load(user: str) -> str | Missing:
    return DATABASE.get(user, MISSING)


@app.get("/users/{user}")
async def read(user: str) -> str:
    name = await cache.get_or_load(user, load, ttl=600, negative_ttl=30)  # process, Redis, else the database
    if name is MISSING:
        raise HTTPException(404, f"there is no user {user}")
    return name


@app.put("/users/{user}")
async def rename(user: str, name: str) -> None:
    DATABASE[user] = name  # first commit,
    await cache.invalidate(user)  # then all processes forget
