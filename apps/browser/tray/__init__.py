"""The tray: hands that a visitor has chosen on any page, and what can be done with them together."""
