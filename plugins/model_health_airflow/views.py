"""Owns the dashboard's place in Airflow's menu. Knows its address, nothing of its pages."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from model_health.config.settings import Settings, load_settings


def external_views(settings: Settings) -> list[dict[str, Any]]:
    """Return the views that Airflow shows within its own pages: the dashboard, where its address is configured.

    The address is one that the browser of a person reaches, not Airflow: it is shown in a frame.
    """
    if settings.dashboard_url is None:
        return []
    return [
        {
            "name": "Model Health",
            "href": f"{settings.dashboard_url}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "model-health",
        }
    ]


class DashboardPlugin(AirflowPlugin):
    """Adds *Model Health* to the menu of Airflow's UI if `MODEL_HEALTH_DASHBOARD_URL` is set."""

    name = "model_health_dashboard"
    external_views = external_views(load_settings())
