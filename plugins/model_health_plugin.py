"""What Airflow's plugin loader finds: the dashboard in its menu. The plugin itself is part of our package."""

from __future__ import annotations

from model_health_airflow.views import DashboardPlugin

__all__ = ["DashboardPlugin"]
