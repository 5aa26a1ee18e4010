"""How much Hypothesis tries: little in every run, much with ``GOALKEEPER_MODEL=long``."""

import os

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("GOALKEEPER_MODEL") == "long"


def effort(share: float = 1.0) -> settings:
    """The settings of one property.

    Args:
        share: of the usual number of goals, for properties that need fewer.
    """
    # Making a failing goal smaller takes minutes: the long run does that.
    phases = (Phase.explicit, Phase.generate) + ((Phase.shrink,) if LONG else ())
    return settings(
        max_examples=max(5, int((3000 if LONG else 40) * share)),
        phases=phases,
        deadline=None,
        derandomize=not LONG,
        suppress_health_check=list(HealthCheck),
    )
