"""The web server of the pages: what it serves them with, and who may see them."""
