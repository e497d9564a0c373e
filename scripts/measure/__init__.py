"""The parts of scripts/bench: our own workloads, growth, start-up, peers, and the page that shows them.

None of them imports the workloads: they are given them, so that each part can be tested without the others.
"""
