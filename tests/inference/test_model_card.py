"""What a card says comes from the run's own files and from the corpus that they name."""

import pytest
from huggingface_hub import ModelCard

from speechbrain_ext.corpora import get_corpus
from speechbrain_ext.dataio.folds import PUBLISHED
from speechbrain_ext.dataio.validation import VALIDATIONS as DRAWN
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.model_card import VALIDATIONS, model_card

METRICS = {
    "corpus": "iemocap",
    "corpus_faults": [],
    "emotions": ["ang", "sad"],
    "WA": 0.75,
    "UA": 0.5,
    "recall": {"ang": 0.5, "sad": None},
    "confusion": [[2, 2], [0, 0]],
    "n": 4,
    "fold": 1,
    "n_folds": 5,
    "seed": 7,
    "test_group": "Session1",
    "validation": "random",
    "tested_epoch": 3,
    "n_epochs": 9,
    "manifest": "0123",
    "versions": {"torch": "2.0"},
    "encoder_config": {"model_type": "wav2vec2"},
}
SETTINGS = {
    "encoder_source": "facebook/hubert-large-ll60k",
    "num_layers": 22,
    "lora_rank": 0,
    "mixup_prob": 0.5,
    "mixup_method": "label_adaptive",
    "lambda_c": 0.002,
    "sample_rate": 16000,
    "mask_padding": True,
    "fixed_length_s": None,
}


def card(settings=SETTINGS, **metrics):
    return ModelCard(model_card({**METRICS, **metrics}, settings, "ann/emotion"))


def test_numbers_are_those_of_the_fold():
    text = card().text
    for line in ("**WA 75.00%, UA 50.00%.**", "| ang | 50.0 | 4 |", "| sad | - | 0 |", "epoch 3 of\n9"):
        assert line in text, line
    assert "the first 22 layers of `facebook/hubert-large-ll60k`, label-adaptive mixup, center loss." in text


def test_method_is_that_of_the_settings():
    settings = {**SETTINGS, "encoder_source": None, "mixup_prob": 0, "lambda_c": 0.0, "mask_padding": False}
    text = card(settings).text
    assert "the first 22 layers of an encoder that was never pretrained.\n" in text
    assert "use batches of one" in text
    assert card(settings).data.tags == ["speech-emotion-recognition", "wav2vec2"]
    assert card().data.tags[2:] == ["label-adaptive-mixup", "center-loss"]
    assert "conventional mixup" in card({**SETTINGS, "mixup_method": "conventional"}).text
    scratch = model_card({**METRICS, "encoder_config": {"model_type": "filterbank"}}, settings, "bundle")
    assert "filterbanks and a small ECAPA-TDNN, trained from scratch.\n" in scratch
    assert "`facebook/hubert-large-ll60k`, LoRA, label-adaptive mixup" in card({**SETTINGS, "lora_rank": 8}).text


def test_no_path_of_this_machine_is_shown():
    made = card({**SETTINGS, "encoder_source": "/home/ann/models/my-hubert"})
    assert "22 layers of `my-hubert`, " in made.text and "/home" not in made.text
    assert made.data.base_model is None


def test_names_lead_out_of_no_code():
    made = card({**SETTINGS, "encoder_source": "/models/b`<img src=x>`"})
    assert "layers of `b'<img src=x>'`, " in made.text  # within code, Markdown shows it as it is
    assert "`" not in model_card(METRICS, SETTINGS, "b`<b>`").split('source="')[1].split('"')[0]


@pytest.mark.parametrize("name", ["iemocap", "synthetic", "csv"])
def test_title_language_terms_and_note_are_the_corpus_own(name):
    corpus, made = get_corpus(name), card(corpus=name)
    assert f"trained on {corpus.title} by the method of" in made.text
    assert made.data.eval_results[0].dataset_name == f"{corpus.title}, fold 1: Session1"
    assert made.data.language == corpus.language
    assert made.data.base_model == "facebook/hubert-large-ll60k"
    assert corpus.licence in made.text and corpus.note in made.text
    assert ("fill in what they say" in made.text) == (name == "csv")


def test_faults_of_the_copy_stand_beside_the_numbers():
    made = card(corpus_faults=["These utterances are not IEMOCAP's."])
    assert "trained on recordings in IEMOCAP's format by" in made.text
    assert "\n**These utterances are not IEMOCAP's.**\n" in made.text
    assert made.data.eval_results[0].dataset_name.startswith("recordings in IEMOCAP's format")
    assert made.data.eval_results[0].dataset_type == "other"


def test_what_a_published_fold_leaks_stands_beside_the_numbers():
    made = card(test_group=PUBLISHED, validation="speaker", fold_cautions=["Fold 1 shares 10 of 10 test speakers."])
    assert "Fold 1 of 5 (as its corpus was published), seed 7: trained without\nits published test part" in made.text
    assert "\n**Fold 1 shares 10 of 10 test speakers.**\n" in made.text
    assert "The epoch was chosen on speakers who are not trained on" in made.text
    assert "(leave one group out)" in card().text


@pytest.mark.parametrize("validation", [*DRAWN, "published"])
def test_every_validation_is_explained(validation):
    assert "epoch" in VALIDATIONS[validation]


def test_corpus_that_nobody_knows_is_refused():
    with pytest.raises(InputError, match="corpus must be one of"):
        card(corpus="iemocapp")
