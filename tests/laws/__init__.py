"""The laws of the package, one small file each, over every architecture, method and composition that is registered."""
