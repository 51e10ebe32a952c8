"""What a run's identity adds to the labels of all its samples. Publishes nothing."""

from __future__ import annotations

from model_health.report.manifest import Manifest
from model_health.sinks.base import PublishContext


def context_of(manifest: Manifest) -> PublishContext:
    """The run's id, and what its identity adds to every sample's labels (only what is known)."""
    model = manifest.model
    known = (
        {} if model is None else {"revision": model.revision, "dtype": model.dtype, "device_class": model.device.kind}
    )
    return PublishContext(manifest.run_id, {name: value for name, value in known.items() if value})
