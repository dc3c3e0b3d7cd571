"""Parts that pages are composed of, such as tables, cards of totals, and the freshness line."""
