"""Which sites a field of a config means: shell patterns over sites' names and paths."""

from __future__ import annotations

from fnmatch import fnmatchcase

from adapterzoo.core.sites import Site


def matches(patterns: str | tuple[str, ...], site: Site) -> bool:
    """Whether one of the patterns is a site's name or path.

    Args:
        patterns: one or several, with `*`, `?` and `[…]` as in a shell: "mlp.*" are the feed-forward's sites in every
            layer, "decoder.*" all sites of the decoder, "encoder.0.attn.q" is one.
        site: the place.
    """
    several = (patterns,) if isinstance(patterns, str) else patterns
    return any(fnmatchcase(site.name, pattern) or fnmatchcase(site.path, pattern) for pattern in several)
