"""Early stopping that a resumed run continues where it was."""

from speechbrain.utils.checkpoints import register_checkpoint_hooks
from speechbrain.utils.epoch_loop import EpochCounterWithStopper


@register_checkpoint_hooks
class EarlyStopping(EpochCounterWithStopper):
    """SpeechBrain's `EpochCounterWithStopper`, whose best score and patience are saved with a checkpoint.

    SpeechBrain defines the hooks for that and does not register them for the class, so that the hooks of the plain
    `EpochCounter` are called: only the epoch comes back, and a resumed run trains longer than an uninterrupted one.

    Arguments
    ---------
    limit, limit_to_stop, limit_warmup, direction
        As `EpochCounterWithStopper` takes them.

    Example
    -------
    >>> from speechbrain.utils.checkpoints import Checkpointer
    >>> folder = getfixture("tmp_path")
    >>> before, after = (EarlyStopping(limit=9, limit_to_stop=2, limit_warmup=0, direction="min") for _ in range(2))
    >>> next(before), before.update_metric(0.5)
    (1, None)
    >>> _ = Checkpointer(folder, {"counter": before}).save_checkpoint()
    >>> _ = Checkpointer(folder, {"counter": after}).recover_if_possible()
    >>> after.current, after.best_score
    (1, 0.5)
    """

    _save = EpochCounterWithStopper._save
    _recover = EpochCounterWithStopper._recover
