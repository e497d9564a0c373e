"""The parts of scripts/grid: what is asked of each program of the catalogue, how a cell is run, and the page."""
