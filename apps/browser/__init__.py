"""The browser, a Streamlit app: look at hands, ask for similar ones, see what was learned."""
