"""What ``streamlit run`` starts: the server, and the script that draws the pages.

They have a folder of their own because Streamlit puts the folder of its script first on ``sys.path``. Beside
``apps/browser/index/``, ``import index`` would find that page and not the package.
"""
