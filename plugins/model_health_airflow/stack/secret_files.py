"""`python3 secret_files.py FOLDER`: makes up the passwords of a deployment, once, as the files that compose names.

Owns the names of those files and what is in them. Needs nothing but Python, so that a host with only Docker can run it.
What is there already stays, so that running it again after an upgrade adds what is new and locks nobody out.

`FOLDER/stack` is for the services, `FOLDER/sinks` for what configs/ name: webhooks and keys, known to their owner only.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

PASSWORDS = (
    "airflow_admin_password",
    "airflow_api_secret_key",
    "airflow_database_password",
    "airflow_jwt_secret",
    "grafana_admin_password",
    "index_password",
    "index_reader_password",
    "object_store_password",
    "object_store_user",
    "postgres_password",
    "redis_password",
)
"""Made up freely; letters and digits only, because some become part of a URL."""
ROTATION = "remove the file to have it made again; a database keeps its old password until it is told the new one"


def derived(known: dict[str, str]) -> dict[str, str]:
    """Return the files that repeat a password in the form that some program wants it in."""
    postgres = "postgresql+psycopg2://{}:{}@postgres:5432/{}"
    return {
        "airflow_database_url": postgres.format("airflow", known["airflow_database_password"], "airflow"),
        "index_url": postgres.format("model_health", known["index_password"], "model_health"),
        "index_reader_url": postgres.format("model_health_reader", known["index_reader_password"], "model_health"),
        "celery_broker_url": f"redis://:{known['redis_password']}@redis:6379/0",
        "redis_conf": f"requirepass {known['redis_password']}",
        "object_store_credentials": (
            "[default]\n"
            f"aws_access_key_id = {known['object_store_user']}\n"
            f"aws_secret_access_key = {known['object_store_password']}\n"
            "endpoint_url = http://object-store:9000"
        ),
    }


def write_secrets(folder: Path) -> list[str]:
    """Complete the files in `folder`, and return the names of those that were made. Raises OSError."""
    stack = folder / "stack"
    # Nobody else on the host comes in here; single files are mounted, and read by the users of the containers.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stack.mkdir(mode=0o700, exist_ok=True)
    (folder / "sinks").mkdir(mode=0o755, exist_ok=True)
    made = []
    known = {}
    fresh = {name: secrets.token_hex(24) for name in PASSWORDS}
    fresh["airflow_fernet_key"] = base64.urlsafe_b64encode(os.urandom(32)).decode()
    for name, value in fresh.items():
        made += [name] if _write(stack / name, value) else []
        known[name] = (stack / name).read_text(encoding="utf-8").strip()
    return made + [name for name, value in derived(known).items() if _write(stack / name, value)]


def _write(path: Path, value: str) -> bool:
    if path.exists():
        return False
    part = path.with_name(f".{path.name}.part")
    part.write_text(f"{value}\n", encoding="utf-8")
    part.chmod(0o444)
    part.replace(path)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files and say where, never what."""
    parser = argparse.ArgumentParser(description="Make up the passwords of a deployment.", epilog=ROTATION)
    parser.add_argument("folder", type=Path, help="the folder that SECRETS_DIR in .env names")
    folder = parser.parse_args(argv).folder
    try:
        made = write_secrets(folder)
    except OSError as error:
        sys.stderr.write(f"{error.filename or folder}: cannot be written: {error.strerror}\n")
        return 2
    sys.stdout.write(f"{folder}/stack: {len(made)} files made, the others kept; put keys of sinks in {folder}/sinks\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
