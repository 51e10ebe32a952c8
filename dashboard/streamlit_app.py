"""The dashboard's entry: page settings and navigation. Run with `make dashboard`.

The dashboard reads the index and the reports through the library. It knows nothing of Airflow and measures nothing.
"""

from __future__ import annotations

import streamlit as st

import navigation

st.set_page_config(page_title="Model Health", page_icon=":material/monitor_heart:", layout="wide")
st.navigation([navigation.page(place.name) for place in navigation.places()]).run()
