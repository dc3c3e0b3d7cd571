"""The star schema: its tables, the models that fill them, and the contract for their values."""
