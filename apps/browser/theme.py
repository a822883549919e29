"""How the browser looks, light and dark: Streamlit's own options."""

from typing import Final

_ACCENT_LIGHT: Final = "#006e8c"
_ACCENT_DARK: Final = "#1a7f9b"
"""White is written on both."""
_SERIES_LIGHT: Final = (
    '["#006e8c", "#c8553d", "#a87900", "#00805c", "#7a4fa3", "#b3478b", "#3a6fd8", "#5c636e"]'
)
_SERIES_DARK: Final = (
    '["#4fc3dc", "#ff8a70", "#f2b84b", "#4fcf9f", "#b99be8", "#ef8fc9", "#7fb0ff", "#a9b2bd"]'
)

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
    "theme.light.textColor": "#14181b",
    "theme.light.borderColor": "#d5dbe0",
    "theme.light.chartCategoricalColors": _SERIES_LIGHT,
    "theme.dark.primaryColor": _ACCENT_DARK,
    "theme.dark.linkColor": "#5cc4de",
    "theme.dark.backgroundColor": "#14181b",
    "theme.dark.secondaryBackgroundColor": "#20262b",
    "theme.dark.textColor": "#e8ecef",
    "theme.dark.borderColor": "#3a434a",
    "theme.dark.chartCategoricalColors": _SERIES_DARK,
}
"""Option -> value. One accent, the same as the report's and the montages'."""
