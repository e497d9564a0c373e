"""The version that actors compare before a run, and the number of the wire and cluster format."""

__all__ = ["FORMAT", "VERSION"]

VERSION = "0.1.0"
FORMAT = 1
