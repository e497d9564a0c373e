"""The version that actors compare before a run, and the numbers of the formats of wire, cluster file and `--json`."""

__all__ = ["CLUSTER_FORMAT", "FORMAT", "SCHEMA_VERSION", "VERSION"]

VERSION = "0.1.0"
FORMAT = 2
CLUSTER_FORMAT = 1
SCHEMA_VERSION = 1
