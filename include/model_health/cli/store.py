"""`model-health store`: what keeps an installation going, from backups to a role that may only read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from model_health.cli.arguments import positive
from model_health.cli.tables import print_rows
from model_health.config.settings import load_settings
from model_health.errors import ExitCode


def add_parsers(sub: Any, epilog: str) -> None:
    """Add the command to the command line."""
    store = sub.add_parser("store", help="back up, restore and prune the index and the reports", epilog=epilog)
    actions = store.add_subparsers(dest="action", required=True, metavar="action")

    backup = actions.add_parser("backup", help="write the index and the store into one file", epilog=epilog)
    backup.add_argument("file", type=Path, metavar="FILE", help="a tar file that does not exist yet")
    backup.set_defaults(call=run_backup)

    restore = actions.add_parser("restore", help="fill an empty index and store from a backup", epilog=epilog)
    restore.add_argument("file", type=Path, metavar="FILE", help="what `store backup` wrote")
    restore.set_defaults(call=run_restore)

    prune = actions.add_parser("prune", help="forget old runs; says only what would go, unless told", epilog=epilog)
    prune.add_argument("--days", type=positive, metavar="N", help="runs that started longer ago are old")
    prune.add_argument(
        "--runs", type=positive, metavar="N", help="all but the newest N of each model and suite are old"
    )
    prune.add_argument("--delete", action="store_true", help="really remove their reports and rows")
    prune.add_argument("--json", action="store_true", help="print JSON")
    prune.set_defaults(call=run_prune)

    reader = actions.add_parser(
        "reader", help="let a role of PostgreSQL read the index and nothing else", epilog=epilog
    )
    reader.add_argument("role", nargs="?", default="model_health_reader", metavar="ROLE", help="default: %(default)s")
    reader.add_argument("--password-secret", metavar="NAME", help="the secret that holds its password; makes the role")
    reader.set_defaults(call=run_reader)

    reap = actions.add_parser("reap", help="end runs whose process died without a word (minutes)", epilog=epilog)
    reap.set_defaults(call=run_reap)


def run_backup(arguments: argparse.Namespace) -> int:
    """`model-health store backup FILE`."""
    from model_health.store.backup import backup
    from model_health.store.index.index import Index, utc_now

    settings = load_settings()
    Index.open(settings.index_url).close()  # an older index is migrated first
    made = backup(settings.index_url, settings.store_uri, arguments.file, now=utc_now())
    print(f"{arguments.file}: {made.words}")
    return ExitCode.HEALTHY


def run_restore(arguments: argparse.Namespace) -> int:
    """`model-health store restore FILE`."""
    from model_health.store.backup import restore

    settings = load_settings()
    restored = restore(arguments.file, settings.index_url, settings.store_uri)
    print(f"{arguments.file}: restored {restored.words}")
    return ExitCode.HEALTHY


def run_prune(arguments: argparse.Namespace) -> int:
    """`model-health store prune [--days N] [--runs N] [--delete]`."""
    from model_health.baseline.prune import prune

    found = prune(days=arguments.days, runs=arguments.runs, delete=arguments.delete)
    print_rows([{"run": key} for key in found.runs], arguments.json)
    said = f"{len(found.runs)} runs {'are forgotten' if found.done else 'would be forgotten (--delete does it)'}"
    kept = [f"{count} kept: {why}" for why, count in sorted(found.kept.items())]
    sys.stderr.write("; ".join([said, *kept]) + "\n")
    return ExitCode.HEALTHY


def run_reader(arguments: argparse.Namespace) -> int:
    """`model-health store reader [ROLE] [--password-secret NAME]`."""
    from model_health.store.index.reader import grant_reader

    settings = load_settings()
    secret = arguments.password_secret
    password = settings.secret(secret.lower()) if secret is not None else None
    made = grant_reader(settings.index_url, arguments.role, password)
    print(f"{arguments.role} {'is made, and ' if made else ''}may read the index and nothing else")
    return ExitCode.HEALTHY


def run_reap(arguments: argparse.Namespace) -> int:
    """`model-health store reap`."""
    from model_health.runner.reap import reap

    found = reap()
    for key in found.reaped:
        print(f"{key} could not be measured: its process died without a word")
    sys.stderr.write(f"{len(found.reaped)} runs were dead, {len(found.alive)} silent ones live\n")
    return ExitCode.HEALTHY
