"""The dashboard's entry: page settings and navigation. Run with `make dashboard`.

The dashboard reads the index and the reports through the library. It knows nothing of Airflow and measures nothing.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

import navigation

# A file of our own: for a named icon the browser would ask a server on the Internet.
ICON = Path(__file__).resolve().parent / "icon.svg"

st.set_page_config(page_title="Model Health", page_icon=str(ICON), layout="wide")
st.navigation([navigation.page(place.name) for place in navigation.places()]).run()
