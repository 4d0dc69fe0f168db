"""Floor 1, the ground: numbers, names, sites, compositions, key tables and outputs. Imports nothing of ours."""
