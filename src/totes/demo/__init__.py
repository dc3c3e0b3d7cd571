"""The demo: a simulated business, the pipeline, and a view of both in the terminal."""
