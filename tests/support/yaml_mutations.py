"""Lines of YAML that a careless or hostile hand writes, and putting them into a text."""

from __future__ import annotations

from hypothesis import strategies as st

LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 9))]
)
LINES = [
    "",
    "---",
    "...",
    "%YAML 9.9",
    "%TAG ! tag:x,2000:",
    "- x",
    "? [a, b]",
    ": y",
    "a: 1\na: 2",
    "1: x",
    "~: x",
    "x: &a [*a]",
    "x: *nobody",
    "<<: 3",
    "<<: [1, 2]",
    "<<: &m {<<: *m}",
    "x: !!python/object/apply:os.system [ls]",
    "x: !!binary aGVsbG8=",
    "x: !!binary '***'",
    "x: !!set {a, b}",
    "x: !!timestamp 2026-99-99",
    "x: !!int abc",
    "x: !!float abc",
    "x: !!omap [a]",
    "x: !!null nothing",
    "x: !nobody {}",
    "!!str x: 1",
    "x: '\\ud800'",
    'x: "\\ud800"',
    'x: "\\U00110000"',
    'x: "\\x00"',
    "x: |9",
    "x: >-\n",
    "x: [",
    "x: {",
    "}",
    "\t x: 1",
    "x:\ty",
    "x: " + "9" * 5000,
    "x: 1e99999",
    "x: .nan",
    "x: 0o7_7",
    "[" * 100,
    "- " * 200,
    "{a: " * 50,
    "x: " + "y" * 100_000,
    LAUGHS,
    "x: @reserved",
    "x: `reserved`",
    "\ufeff",
    "\u2028",
    "# \x07",
]
YamlEdit = tuple[str, int, str]
yaml_edits = st.lists(
    st.tuples(
        st.sampled_from(["line", "line", "value", "value", "indent", "drop", "double", "join"]),
        st.integers(0, 10_000),
        st.one_of(st.sampled_from(LINES), st.text(max_size=12)),
    ),
    min_size=1,
    max_size=3,
)


def with_yaml(text: str, changes: list[YamlEdit]) -> str:
    """The text after each change."""
    lines = text.split("\n")
    for kind, place, piece in changes:
        at = place % len(lines)
        indent = len(lines[at]) - len(lines[at].lstrip(" "))
        if kind == "line":
            lines[at:at] = [" " * indent + one for one in piece.split("\n")]
        elif kind == "value" and ":" in lines[at]:
            lines[at] = f"{lines[at].partition(':')[0]}: {piece.removeprefix('x: ')}"
        elif kind == "indent":
            lines[at] = " " * (place % 7) + lines[at].lstrip(" ")
        elif kind == "drop" and len(lines) > 1:
            del lines[at]
        elif kind == "double":
            lines.insert(at, lines[at])
        elif kind == "join" and at + 1 < len(lines):
            lines[at : at + 2] = [lines[at] + lines[at + 1]]
    return "\n".join(lines)
