"""Automatic tuning (requirement 2.10): four rules, decided on plain values. ``tuner`` measures, and carries out."""

from __future__ import annotations

from cacheclient.tuning.decision import Action, Decision, Measured, State
from cacheclient.tuning.rules import decide
from cacheclient.tuning.suggestion import Memory, suggestion

__all__ = ["Action", "Decision", "Measured", "Memory", "State", "decide", "suggestion"]
