"""Many runs, on this machine or on Ray, planned, started and shown in one display.

May import: the ground, dataio, corpora, lobes, training and results.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "jobs": ["Job", "JobEvent"],
        "plan": ["plan_folds"],
        "local": ["run_jobs"],
        "on_ray": ["run_jobs_on_ray"],
    },
)
