"""Capture from the source's write-ahead log: publication, slot, stream and transactions."""
