"""The browser: Streamlit pages that show a home, and the server around them."""
