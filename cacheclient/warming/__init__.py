"""Warm-ups: entries put into the cache before anybody asks for them.

A plan (critical, hot, full) names sources; each gives keys to load, or values. See docs/warm-up.md.
"""

from cacheclient.warming.filling import SourceError
from cacheclient.warming.items import PLANS, Bad, Cursor, Item, Source
from cacheclient.warming.pace import Limits, Pace
from cacheclient.warming.place import FilePlaces, Places, SharedPlaces
from cacheclient.warming.report import Outcome, Progress, Report, SourceReport
from cacheclient.warming.settings import PlanSettings
from cacheclient.warming.sources.files import Files
from cacheclient.warming.sources.records import Fields
from cacheclient.warming.threads import SyncWarmer
from cacheclient.warming.warmer import Warmer, summary

__all__ = [
    "PLANS", "Bad", "Cursor", "Fields", "FilePlaces", "Files", "Item", "Limits", "Outcome", "Pace", "Places",
    "PlanSettings", "Progress", "Report", "SharedPlaces", "Source", "SourceError", "SourceReport", "SyncWarmer",
    "Warmer", "summary",
]  # fmt: skip
