"""Floor 3: AdapterFusion (Pfeiffer et al. 2021, arXiv:2005.00247): a learned attention over adapters' outputs."""

from adapterzoo.fusion.config import FUSIONS, AdapterFusionConfig, resolve_fusion_config
from adapterzoo.fusion.fusion import Fusion

__all__ = ["FUSIONS", "AdapterFusionConfig", "Fusion", "resolve_fusion_config"]
