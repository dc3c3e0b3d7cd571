"""Explore: statements that users compose from declared names, or write themselves."""
