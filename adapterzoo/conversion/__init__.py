"""Looking into checkpoints and adapters, and converting them. The package `weights_conversion` is its command line."""
