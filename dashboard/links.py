"""Addresses: what a page shows is in its query parameters, so that a link restores it. Between widgets and the address.

Two kinds of parameters. *Which thing* a page shows (`run`, `prompt`, `model`) is always written, by `choose`: a link to
the newest run must go on meaning that run. *How* it is shown is a widget with `key="..."` and `bind="query-params"`,
which Streamlit writes only where it is not the default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

import streamlit as st

import navigation


def choose(
    label: str, options: Sequence[str], param: str, *, format_func: Callable[[str], str] = str, help: str | None = None
) -> str:
    """A select box of things whose choice is in the address as `?param=...`.

    What the address asks for is offered even where `options` does not list it: the page says what is wrong with it.
    Raises ValueError for no options and no request.
    """
    asked = st.query_params.get(param)
    key, written = f"choose_{param}", f"choose_{param}_written"
    offered = list(options)
    if asked and asked not in offered:
        offered.insert(0, asked)
    if not offered:
        raise ValueError(f"nothing to choose for {param}")
    # The address wins where it changed by itself: a link was followed, or the browser went back.
    if asked and (asked != st.session_state.get(written) or key not in st.session_state):
        st.session_state[key] = asked
    elif st.session_state.get(key) not in offered:
        st.session_state[key] = offered[0]
    chosen = st.selectbox(label, offered, key=key, format_func=format_func, help=help)
    st.query_params[param] = chosen
    st.session_state[written] = chosen
    return chosen


def number(label: str, param: str, count: int, *, help: str | None = None) -> int:
    """A number from 0 to before `count` whose value is in the address as `?param=...`, also where a button set it.

    A button sets it through `st.session_state[param]`. What the address asks for and is no such number becomes the
    nearest one, or 0. With one number or none to choose from the field cannot be changed.
    """
    last, written = max(count - 1, 0), f"{param}_written"
    asked = st.query_params.get(param)
    if param not in st.session_state or (asked is not None and asked != st.session_state.get(written)):
        st.session_state[param] = int(asked) if asked and asked.isascii() and asked.isdigit() else 0
    # Never larger than a report can be: the field is drawn for every number below.
    st.session_state[param] = min(max(int(st.session_state[param]), 0), last)
    chosen = int(st.number_input(label, 0, max(last, 1), key=param, help=help, disabled=last == 0))
    st.query_params[param] = st.session_state[written] = str(chosen)
    return chosen


def address(page: str, **params: str | int | None) -> str:
    """The address of a page, relative to every other page: it holds behind a proxy under any path."""
    given = {name: str(value) for name, value in params.items() if value is not None}
    path = "./" if navigation.is_first(page) else f"./{page}"
    return f"{path}?{urlencode(given)}" if given else path


def link(label: str, page: str, *, icon: str | None = None, **params: str | int | None) -> None:
    """A link to a page, followed without loading the dashboard anew; nothing where that page does not exist."""
    if navigation.exists(page):
        given = {name: str(value) for name, value in params.items() if value is not None}
        st.page_link(navigation.page(page), label=label, icon=icon, query_params=given)


def go(page: str, **params: str | int | None) -> None:
    """Leave for another page, now."""
    given = {name: str(value) for name, value in params.items() if value is not None}
    st.switch_page(navigation.page(page), query_params=given)
