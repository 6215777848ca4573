"""The verbs over JSON: `api.urls` goes below /api/v1/."""

from __future__ import annotations

from dashboard.api.app import api

__all__ = ["api"]
