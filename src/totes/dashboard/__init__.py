"""The dashboard: figures of the business and of the pipeline, on pages in a browser."""
