"""The search page: questions as addresses, their answers, and the widgets around them."""
