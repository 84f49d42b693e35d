"""The projection module against plain matrix products."""

import torch

from speechbrain_ext.nnet.projection import EmotionClassifier, EmotionEmbedding


def test_embedding_is_linear_without_activation():
    f_0 = EmotionEmbedding(5, 3)
    feats = torch.randn(4, 5)
    torch.testing.assert_close(f_0(feats), feats @ f_0.weight.T + f_0.bias)
    assert f_0(feats).min() < 0 < f_0(-feats).max()


def test_classifier_gives_log_posteriors():
    f_1 = EmotionClassifier(3, 4)
    emb = torch.randn(6, 3)
    logits = emb @ f_1.weight.T + f_1.bias
    expected = logits - logits.exp().sum(dim=1, keepdim=True).log()
    torch.testing.assert_close(f_1(emb), expected)


def test_log_posteriors_are_float32_under_autocast():
    f_1 = EmotionClassifier(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        log_posteriors = f_1(torch.randn(6, 3))
    assert log_posteriors.dtype == torch.float32
    torch.testing.assert_close(log_posteriors.exp().sum(dim=1), torch.ones(6))
