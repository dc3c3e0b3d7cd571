"""The page of a URL, and ways to another: links, the sidebar's filters, clicks that filter."""
