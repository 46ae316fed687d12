"""Django with a cache: CACHE_URL=redis://localhost CACHE_NAMESPACE=users granian --interface wsgi django_app:app."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.urls import path

from cacheclient import MISSING, Cache, Missing

DATABASE = {"1": "Ada", "2": "Grace"}  # stands for yours
cache = Cache.from_env(type=str)
cache.start()
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"])


def load(user: str) -> str | Missing:
    return DATABASE.get(user, MISSING)


def names(request: HttpRequest, user: str) -> HttpResponse:
    if request.method == "PUT":
        DATABASE[user] = request.GET["name"]  # first commit,
        cache.invalidate(user)  # then all processes forget
    name = cache.get_or_load(user, load, ttl=600, negative_ttl=30)  # process, Redis, else the database
    return HttpResponseNotFound() if name is MISSING else HttpResponse(name)


urlpatterns = [path("users/<user>", names)]
app = get_wsgi_application()
