"""Addresses: what a page shows is in them, what they ask for is shown, and neither can be broken from outside."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

import links
import navigation


def two_choices() -> None:
    """A page of a thing and a number."""
    import streamlit as st

    import links

    thing = links.choose("Thing", ["a", "b", "c"], "thing")
    number = links.number("Number", "number", 5 if thing != "c" else 1)
    st.text(f"{thing} {number}")


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_function(two_choices, default_timeout=60)


def shown(page: AppTest) -> str:
    assert not page.exception
    return str(page.text[0].value)


def test_what_is_shown_is_written_into_the_address_also_the_default(page: AppTest) -> None:
    assert shown(page.run()) == "a 0"
    assert page.query_params == {"thing": "a", "number": "0"}


def test_what_the_address_asks_for_is_shown(page: AppTest) -> None:
    page.query_params["thing"], page.query_params["number"] = "b", "3"
    assert shown(page.run()) == "b 3"


def test_a_choice_changes_the_address_and_a_changed_address_the_choice(page: AppTest) -> None:
    page.run()
    page.selectbox(key="choose_thing").select("b").run()
    page.number_input(key="number").set_value(4).run()
    assert shown(page) == "b 4"
    assert page.query_params == {"thing": "b", "number": "4"}
    page.query_params["thing"], page.query_params["number"] = "a", "1"  # the browser's way back
    assert shown(page.run()) == "a 1"


def test_a_button_s_number_reaches_the_address(page: AppTest) -> None:
    page.run()
    page.session_state["number"] = 2
    assert shown(page.run()) == "a 2"
    assert page.query_params["number"] == "2"


@pytest.mark.parametrize(("asked", "number"), [("-1", 0), ("5", 4), ("1e3", 0), ("", 0), ("٣", 0), ("9" * 30, 4)])
def test_a_number_that_cannot_be_becomes_the_nearest_or_none(page: AppTest, asked: str, number: int) -> None:
    page.query_params["number"] = asked
    assert shown(page.run()) == f"a {number}"


def test_an_unknown_thing_is_offered_so_that_the_page_can_say_what_is_wrong(page: AppTest) -> None:
    page.query_params["thing"] = "gone"
    assert shown(page.run()) == "gone 0"
    assert page.selectbox(key="choose_thing").options == ["gone", "a", "b", "c"]


def test_a_number_that_another_thing_does_not_have_is_drawn_in(page: AppTest) -> None:
    page.query_params["number"] = "4"
    page.run()
    page.selectbox(key="choose_thing").select("c").run()
    assert shown(page) == "c 0"


def test_addresses_are_relative_and_encoded() -> None:
    assert links.address("run", run="m/s/r 1&x", step=3, layer=None) == "./run?run=m%2Fs%2Fr+1%26x&step=3"
    assert links.address("prompt") == "./prompt"
    assert links.address(navigation.places()[0].name, q="x") == "./?q=x"


def test_every_page_of_the_menu_has_its_file_and_the_first_is_the_fleet() -> None:
    assert [place.name for place in navigation.places()] == [place.name for place in navigation.PLACES]
    assert navigation.is_first("fleet")
    assert {path.stem for path in navigation.FOLDER.glob("*.py")} == {place.name for place in navigation.PLACES}
