"""How the browser looks, light and dark: Streamlit's own options."""

from typing import Final

_ACCENT_LIGHT: Final = "#006e8c"
_ACCENT_DARK: Final = "#4fc3dc"

THEME: Final[dict[str, str]] = {
    "theme.baseRadius": "8px",
    "theme.baseFontSize": "15",
    "theme.headingFontSizes": '["1.6rem", "1.25rem", "1.05rem", "1rem", "1rem", "1rem"]',
    "theme.headingFontWeights": "[600, 600, 600, 600, 600, 600]",
    "theme.showWidgetBorder": "true",
    "theme.light.primaryColor": _ACCENT_LIGHT,
    "theme.light.linkColor": _ACCENT_LIGHT,
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f1f4f6",
    "theme.light.textColor": "#1c2126",
    "theme.light.borderColor": "#d5dbe0",
    "theme.dark.primaryColor": _ACCENT_DARK,
    "theme.dark.linkColor": _ACCENT_DARK,
    "theme.dark.backgroundColor": "#14181b",
    "theme.dark.secondaryBackgroundColor": "#20262b",
    "theme.dark.textColor": "#e8ecef",
    "theme.dark.borderColor": "#3a434a",
}
"""Option -> value. One accent, the same as the report's and the montages'."""
