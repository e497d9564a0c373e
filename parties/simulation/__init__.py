"""Whole runs on virtual time: every actor's brain and channels, a network that loses and delays, disks that fill up."""
