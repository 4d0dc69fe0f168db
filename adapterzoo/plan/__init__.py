"""Floor 3: setups compiled to plans. The algebra of compositions is here and nowhere else."""

from adapterzoo.plan.plan import Plan

__all__ = ["Plan"]
