"""The Terrific Totes data platform: every change of totesys, in a lake and a warehouse."""

__version__ = "0.1.0"
