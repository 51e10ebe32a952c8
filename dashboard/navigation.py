"""The pages: their names, addresses and order. A page whose file is not there yet is left out. Draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

FOLDER = Path(__file__).resolve().parent / "app_pages"


@dataclass(frozen=True)
class Place:
    """A page. `name` is its file and its address; the first page that exists is where people start."""

    name: str
    title: str
    icon: str

    @property
    def path(self) -> Path:
        """Its file."""
        return FOLDER / f"{self.name}.py"


PLACES = (
    Place("fleet", "Fleet", ":material/dashboard:"),
    Place("model", "Model", ":material/show_chart:"),
    Place("runs", "Runs", ":material/view_list:"),
    Place("run", "Run", ":material/search:"),
    Place("prompt", "Prompt", ":material/text_fields:"),
    Place("compare", "Compare", ":material/compare_arrows:"),
    Place("operations", "Self-test & delivery", ":material/verified:"),
)


def places() -> list[Place]:
    """The pages that exist, in the order of the menu."""
    return [place for place in PLACES if place.path.is_file()]


def page(name: str) -> StreamlitPage:
    """A page as Streamlit knows it, for `st.navigation`, `st.page_link` and `st.switch_page`.

    Raises KeyError for a name that is no page's.
    """
    place = {known.name: known for known in PLACES}[name]
    return st.Page(place.path, title=place.title, icon=place.icon, url_path=place.name, default=is_first(name))


def is_first(name: str) -> bool:
    """Whether people start on a page: that one's address is the dashboard's own, without a name."""
    return places()[0].name == name


def exists(name: str) -> bool:
    """Whether a page is there to go to."""
    return any(place.name == name for place in places())
