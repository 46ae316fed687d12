"""Warm-ups: entries put into the cache before anybody asks for them.

A plan (critical, hot, full) names sources; each gives keys to load, or values. See docs/warm-up.md.
"""

from cacheclient.warming.filling import SourceError
from cacheclient.warming.items import PLANS, Bad, Cursor, Item, Source
from cacheclient.warming.pace import Limits, Pace
from cacheclient.warming.place import FilePlaces, Places, SharedPlaces
from cacheclient.warming.plan_file import PlanFile, parse_plans, read_plans
from cacheclient.warming.report import Outcome, Progress, Report, SourceReport
from cacheclient.warming.settings import PlanSettings
from cacheclient.warming.sources.files import Files
from cacheclient.warming.sources.http import Http
from cacheclient.warming.sources.kinds import Kind, SourceSettings
from cacheclient.warming.sources.records import Fields
from cacheclient.warming.sources.sql import Sql
from cacheclient.warming.sources.stream import Stream
from cacheclient.warming.threads import SyncWarmer
from cacheclient.warming.warmer import Warmer, summary

__all__ = [
    "PLANS", "Bad", "Cursor", "Fields", "FilePlaces", "Files", "Http", "Item", "Kind", "Limits", "Outcome", "Pace",
    "Places", "PlanFile", "PlanSettings", "Progress", "Report", "SharedPlaces", "Source", "SourceError", "SourceReport",
    "SourceSettings", "Sql", "Stream", "SyncWarmer", "Warmer", "parse_plans", "read_plans", "summary",
]  # fmt: skip
