"""The network in int8."""
