"""The three stages, the runner that runs them in a row, and replay."""
