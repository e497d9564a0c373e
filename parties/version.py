"""The version that actors compare before a run, and the numbers of the wire and cluster format and of `--json`."""

__all__ = ["FORMAT", "SCHEMA_VERSION", "VERSION"]

VERSION = "0.1.0"
FORMAT = 1
SCHEMA_VERSION = 1
