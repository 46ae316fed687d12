"""The cache's HTTP API: mount the routers into an application, or run ``app`` by itself as the bundle does."""

from cacheclient.api.application import app, problems
from cacheclient.api.authentication import Administrators
from cacheclient.api.operations import operations
from cacheclient.api.problems import Problem
from cacheclient.api.routes import router
from cacheclient.api.tokens import Tokens
from cacheclient.api.web_tokens import JwtRules

__all__ = ["Administrators", "JwtRules", "Problem", "Tokens", "app", "operations", "problems", "router"]
