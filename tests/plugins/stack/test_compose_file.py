"""The part of the compose format that is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from model_health.errors import ConfigError
from model_health_airflow.stack.compose import Mount, fill, load_compose


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "a"),
        ("${SET}", "value"),
        ("${SET:-other}", "value"),
        ("${UNSET}", ""),
        ("${UNSET:-other}/x", "other/x"),
        ("${UNSET:-}", ""),
        ("${EMPTY:-other}", "other"),
        ("$$SET and $${SET}", "$SET and ${SET}"),
        ("$$(cat x)", "$(cat x)"),
        ("s/[[:space:]]*$$//", "s/[[:space:]]*$//"),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, expected: str) -> None:
    assert fill(text, {"SET": "value", "EMPTY": ""}, "file") == expected


@pytest.mark.parametrize("variables", [{}, {"NEEDED": ""}])
def test_a_required_variable_is_asked_for(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="NEEDED is not set: copy the example"):
        fill("${NEEDED:?copy the example}", variables, "file")


def write(folder: Path, services: object) -> Path:
    path = folder / "compose.yaml"
    path.write_text(yaml.safe_dump({"services": services}))
    return path


def test_entrypoint_command_mounts_and_conditions_are_read(tmp_path: Path) -> None:
    body = {
        "entrypoint": ["tini", "--"],
        "command": ["run", "${WORD:-now}"],
        "volumes": ["./a:/a:ro", "data:/data", {"type": "bind", "source": "/b", "target": "/c"}],
        "depends_on": {"other": {"condition": "service_healthy"}},
        "stop_grace_period": "90s",
    }
    compose = load_compose(write(tmp_path, {"one": body, "other": {}}), {})
    one = compose.services["one"]
    assert one.command == ("tini", "--", "run", "now")
    assert one.mounts == (Mount("./a", "/a"), Mount("data", "/data"), Mount("/b", "/c"))
    assert [mount.is_volume for mount in one.mounts] == [False, True, False]
    assert (one.needs, one.grace_seconds) == ({"other": "service_healthy"}, 90.0)
    assert [service.name for service in compose.in_order({"one", "other"})] == ["other", "one"]
    other = compose.services["other"]
    assert (other.command, other.health, other.environment, other.profiles) == ((), (), {}, ())


def test_services_that_wait_for_each_other_are_refused(tmp_path: Path) -> None:
    needs = {"depends_on": {"a": {"condition": "service_started"}}}
    compose = load_compose(write(tmp_path, {"a": {**needs, "depends_on": {"b": {"condition": "x"}}}, "b": needs}), {})
    with pytest.raises(ConfigError, match="depend on each other"):
        compose.in_order({"a", "b"})


@pytest.mark.parametrize("content", [None, "services: [", "\t"])
def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "compose.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"compose\.yaml"):
        load_compose(path, {})
