"""What others say of their own limits: each figure that SCALE.md does not measure, with where it is written.

Read on the day that `READ` names. Knows nothing of our own numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

READ: Final = "2026-11-23"


@dataclass(frozen=True)
class Source:
    """A claim, in our words, and the page that makes it."""

    says: str
    address: str


SOURCES: Final[dict[str, Source]] = {
    "datadog-size": Source(
        "a request of metrics has at most 512,000 bytes, and less than 5,242,880 before compression",
        "https://docs.datadoghq.com/api/latest/metrics/submit-metrics/",
    ),
    "datadog-rate": Source(
        "submitting metrics is not rate limited; events are, at 500,000 an hour for an organisation",
        "https://docs.datadoghq.com/api/latest/rate-limits/",
    ),
    "datadog-custom": Source(
        "a custom metric, which is what is billed, is each combination of a metric's name and tag values",
        "https://docs.datadoghq.com/metrics/custom_metrics/",
    ),
    "prometheus-series": Source(
        "one server handles millions of series; beyond that, servers are split by use and federated",
        "https://www.robustperception.io/scaling-and-federating-prometheus/",
    ),
    "prometheus-bytes": Source(
        "a year of 250,000 samples a second fits into 16 TB, at a conservative 2 bytes a sample",
        "https://www.robustperception.io/how-long-can-prometheus-retention-be/",
    ),
    "pushgateway": Source(
        "a Pushgateway is a single point of failure and a potential bottleneck, and never forgets a series by itself",
        "https://prometheus.io/docs/practices/pushing/",
    ),
    "sqlite": Source(
        "with a write-ahead log there can only be one writer at a time, and all processes are on one host",
        "https://www.sqlite.org/wal.html",
    ),
    "s3": Source(
        "a partitioned prefix takes 3,500 writes and 5,500 reads a second",
        "https://repost.aws/knowledge-center/http-5xx-errors-s3",
    ),
    "map-length": Source(
        "a task maps over at most 1,024 entries by default (core.max_map_length)",
        "https://airflow.apache.org/docs/apache-airflow/stable/configurations-ref.html#max-map-length",
    ),
    "airflow-schedulers": Source(
        "more than one scheduler may run, and tasks of one that died are taken over by another",
        "https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/scheduler.html",
    ),
    "postgres-partitions": Source(
        "partitions make an index of the present small, and forgetting the past a matter of dropping a table",
        "https://www.postgresql.org/docs/current/ddl-partitioning.html",
    ),
}


def cite(name: str) -> str:
    """A mark in the text."""
    return f"[{list(SOURCES).index(name) + 1}]"
