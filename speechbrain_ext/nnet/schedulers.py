"""The paper's learning-rate schedule."""


class GeometricDecay:
    """Factor on the initial learning rate after a number of epochs, for `torch.optim.lr_scheduler.LambdaLR`.

    Arguments
    ---------
    divisor : float
        The rate is divided by it after every epoch (1.25 in Sec. 3.2).
    last_epoch : int
        The last epoch after which it is divided; later ones keep the rate.

    Example
    -------
    >>> decay = GeometricDecay(divisor=2.0, last_epoch=3)
    >>> [decay(n_epochs_done) for n_epochs_done in range(6)]
    [1.0, 0.5, 0.25, 0.125, 0.125, 0.125]
    """

    def __init__(self, divisor: float = 1.25, last_epoch: int = 20) -> None:
        self.divisor = divisor
        self.last_epoch = last_epoch

    def __call__(self, n_epochs_done: int) -> float:
        """Return the factor after `n_epochs_done` epochs."""
        return self.divisor ** -min(n_epochs_done, self.last_epoch)
