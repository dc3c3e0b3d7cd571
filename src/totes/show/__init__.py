"""The demonstration: a simulated business, the pipeline behind it, and what can be seen of both."""
