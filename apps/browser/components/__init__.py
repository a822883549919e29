"""Streamlit components in Python, CSS and JavaScript: a grid of hands, a skeleton editor, a map canvas."""
