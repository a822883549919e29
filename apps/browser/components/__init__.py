"""What Streamlit does not have: a grid of hands to click on, a skeleton to drag, a map to wander over."""
