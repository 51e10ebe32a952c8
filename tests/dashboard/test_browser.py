"""The dashboard in a real browser, behind a reverse proxy under a path: the way of a person, and how every page looks.

Pictures of each page in both themes, and of some at other widths, are left in `test-artifacts/dashboard/`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

import navigation
from support.browser import PATIENCE, ROOT, Visitor, launch, served
from support.dashboard_beside import DRIFTING
from support.dashboards import BAD_LAYER, BAD_STEP, MODEL, SCRIPT, SUITE, Seeded
from support.proxy import proxied

pytestmark = [pytest.mark.services, pytest.mark.e2e]

BASE = "ops/health"
PICTURES = ROOT / "test-artifacts" / "dashboard"
SIZES = {"desk": (1280, 4000), "phone": (390, 4000), "wide": (2560, 1600)}
"""Width, and the most height of a picture, in pixels."""
WIDE, PHONE = ("fleet", "prompt"), ("fleet", "model", "run")
"""Pages of which there are pictures at these widths too; that they fit is asked of all."""
THEMES = {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 21, 28)"}
"""Their backgrounds."""
LOOKS = [
    *(place.name for place in navigation.places()), "compare-runs", "operations-self-test",
    "prompt-layers", "prompt-prompt", "prompt-not-measured",
]  # fmt: skip
Visit = Callable[..., Visitor]
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def site(seeded: Seeded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard's address behind the proxy."""
    home = tmp_path_factory.mktemp("server")
    with (
        served(home, seeded.environment, base=BASE) as inner,
        proxied(inner.removesuffix(f"/{BASE}"), BASE) as address,
    ):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A new visitor with a history of their own; whatever went wrong on a page fails the test."""
    visitors: list[Visitor] = []

    def new(width: int = 1280, scheme: str = "light") -> Visitor:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        visitors.append(Visitor(context.new_page()))
        return visitors[-1]

    yield new
    for visitor in visitors:
        visitor.page.context.close()
    assert [problem for visitor in visitors for problem in visitor.problems] == []


def query(page: Page) -> dict[str, str]:
    """What the address asks for."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def address(site: str, place: str, **params: str) -> str:
    return f"{site}/{place}?{urlencode(params)}" if params else f"{site}/{place}"


# ------------------------------------------------------------------------------------------------------ a person's way
def test_from_the_first_page_to_the_layer_and_the_token_and_back_by_a_link(
    site: str, seeded: Seeded, visit: Visit
) -> None:
    visitor = visit()
    page = visitor.page
    visitor.open(f"{site}/", "Fleet")
    page.get_by_role("link", name=f"✖ {MODEL} on {SUITE}").click()
    visitor.settled("Model")
    page.get_by_role("link", name="Open the newest run").click()
    visitor.settled("Run")
    assert query(page)["run"] == seeded.sick
    expect(page.get_by_text("✖ unhealthy").first).to_be_visible()

    page.get_by_role("link", name="✖ overflow").click()
    visitor.settled("Prompt")
    expect(page.get_by_text(f"first at step {BAD_STEP} and layer {BAD_LAYER}")).to_be_visible()
    page.get_by_role("button", name="Show it").first.click()
    expect(page.get_by_role("spinbutton", name="Layer")).to_have_value(str(BAD_LAYER))
    expect(page.get_by_role("spinbutton", name="Step")).to_have_value(str(BAD_STEP))
    visitor.settled("Prompt")

    heatmap = page.get_by_test_id("stVegaLiteChart").first
    heatmap.hover()
    with page.expect_download() as picture:
        page.get_by_role("button", name=re.compile("^Download as PNG: L2 norm of the hidden state of every")).click()
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as table:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(table.value.path()).read_text(encoding="utf-8"))))
    assert rows[BAD_LAYER - 1][f"Step {BAD_STEP}"] != ""
    assert rows[BAD_LAYER][f"Step {BAD_STEP}"] == ""

    asked = {"run": seeded.sick, "prompt": "overflow", "view": "Layers", "step": str(BAD_STEP), "layer": str(BAD_LAYER)}
    page.wait_for_function("location.search.includes('layer=')")
    assert query(page) == asked
    colleague = visit(scheme="dark")
    colleague.open(page.url, "Prompt")
    for _ in range(2):  # as shared, and once more after a reload
        expect(colleague.page.get_by_role("spinbutton", name="Layer")).to_have_value(str(BAD_LAYER))
        expect(colleague.page.get_by_text(f"Layer {BAD_LAYER} at all steps")).to_be_visible()
        assert query(colleague.page) == asked
        colleague.page.reload()
        colleague.settled("Prompt")


def test_a_token_tells_its_numbers_and_a_script_in_it_is_text(site: str, seeded: Seeded, visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    visitor.open(address(site, "prompt", run=seeded.sick, prompt="capital"), "Prompt")
    token = page.locator(".mh-text .t", has_text=SCRIPT)
    expect(token).to_be_visible()
    token.hover()
    said = token.evaluate("token => getComputedStyle(token, '::after').content")
    assert "surprisal" in said
    assert "most likely:" in said
    assert "taken" not in page.title()


def test_the_data_docs_open_within_the_page(site: str, seeded: Seeded, visit: Visit) -> None:
    visitor = visit()
    visitor.open(address(site, "run", run=seeded.sick, docs="true"), "Run")
    docs = visitor.page.frame_locator("iframe")
    expect(docs.get_by_role("heading", name="What Great Expectations checked")).to_be_visible()


def test_a_person_without_a_mouse_reaches_the_layer(site: str, seeded: Seeded, visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    visitor.open(address(site, "prompt", run=seeded.sick, prompt="overflow"), "Prompt")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Show it":
            break
    look = page.evaluate("(s => s.outlineStyle + s.boxShadow)(getComputedStyle(document.activeElement))")
    assert look != "nonenone", "the focus cannot be seen"
    page.keyboard.press("Enter")
    layer = page.get_by_role("spinbutton", name="Layer")
    expect(layer).to_have_value(str(BAD_LAYER))
    layer.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_function(f"location.search.includes('layer={BAD_LAYER + 1}')")


# ----------------------------------------------------------------------------------------------------- how pages look
def queries(seeded: Seeded) -> dict[str, tuple[str, dict[str, str]]]:
    """The pages to look at, by the name of their pictures: the page, and what its address asks for."""
    sick = {"run": seeded.sick}
    found: dict[str, tuple[str, dict[str, str]]] = {place.name: (place.name, {}) for place in navigation.places()}
    for view, prompt in (("Layers", "overflow"), ("Prompt", "capital"), ("Not measured", "overflow")):
        found[f"prompt-{view.lower().replace(' ', '-')}"] = ("prompt", {**sick, "prompt": prompt, "view": view})
    found["prompt"] = ("prompt", {**sick, "prompt": "story", "step": "9"})
    found["model"] = ("model", {"model": DRIFTING, "suite": SUITE})
    found["compare-runs"] = ("compare", {"kind": "Two runs", "pair": f"{MODEL}/{SUITE}"})
    found["operations-self-test"] = ("operations", {"part": "Self-test"})
    return found


@pytest.fixture(scope="module")
def onlooker(browser: Browser) -> Iterator[Visitor]:
    """One visitor who looks at every page: the browser reads its scripts once."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield Visitor(context.new_page())
    context.close()


@pytest.mark.parametrize("name", LOOKS)
def test_a_page_fits_every_width_and_both_themes(site: str, seeded: Seeded, onlooker: Visitor, name: str) -> None:
    place, params = queries(seeded)[name]
    title = next(known.title for known in navigation.PLACES if known.name == place)
    page = onlooker.page
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})
    onlooker.open(f"{site}/" if navigation.is_first(place) else address(site, place, **params), title)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for theme, size, is_pictured in looked_at(name):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.wait_for_function(
            f"getComputedStyle(document.querySelector('.stApp')).backgroundColor === '{THEMES[theme]}'"
        )
        width, tallest = SIZES[size]
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(150)
        assert onlooker.wide() == 0, f"{name} is wider than {width} pixels"
        if is_pictured:
            height = page.evaluate("document.querySelector('[data-testid=\"stMain\"]').scrollHeight")
            page.set_viewport_size({"width": width, "height": max(900, min(int(height), tallest))})
            page.wait_for_timeout(350)
            page.screenshot(path=PICTURES / f"{name}-{size}-{theme}.png")
    exports = page.get_by_role("button", name=re.compile("^Download as PNG"), include_hidden=True)
    assert exports.count() == page.get_by_test_id("stVegaLiteChart").count()
    assert page.get_by_test_id("stException").count() == 0
    assert page.get_by_text("Traceback").count() == 0
    assert onlooker.problems == []


def looked_at(name: str) -> Iterator[tuple[str, str, bool]]:
    """Theme, size, and whether it is pictured: the desk in both themes, and of some pages each other width."""
    yield "light", "desk", True
    yield "light", "wide", name in WIDE
    yield "dark", "phone", name in PHONE
    yield "dark", "desk", True
