"""The model card of an exported fold: what was trained on what, how it was tested, and what it is not for."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from speechbrain_ext.corpora.base import Corpus, get_corpus
from speechbrain_ext.dataio.folds import PUBLISHED
from speechbrain_ext.lobes.filterbank_encoder import MODEL_TYPE
from speechbrain_ext.outside_text import escape_markdown, printable

PAPER = "https://arxiv.org/abs/2305.06273"
VALIDATIONS = {
    "random": "The epoch was chosen on a random part of the training groups' utterances: their speakers are trained on",
    "group": "The epoch was chosen on one of the training groups, whose speakers are not trained on",
    "speaker": "The epoch was chosen on speakers who are not trained on",
    "published": "The epoch was chosen on the validation part that was published with the fold",
    "none": "Training went on for a fixed number of epochs; nothing validated",
}


def model_card(metrics: Mapping[str, Any], settings: Mapping[str, Any], name: str) -> str:
    """Write the card of one fold's model.

    Arguments
    ---------
    metrics : dict
        The fold's test_metrics.json; its `corpus` and `corpus_faults` say what it was trained on.
    settings : dict
        The fold's settings.
    name : str
        The bundle's folder, or USER/NAME.

    Returns
    -------
    str
        Markdown with metadata.
    """
    corpus, name = get_corpus(metrics["corpus"]), printable(name)
    data = ModelCardData(
        library_name="speechbrain",
        pipeline_tag="audio-classification",
        language=corpus.language,
        license="other",
        license_name="terms-of-the-corpus",
        base_model=_hub_id(settings["encoder_source"]),
        tags=[
            "speech-emotion-recognition",
            metrics["encoder_config"]["model_type"],
            *(word.replace(" ", "-") for word in _techniques(settings)),
        ],
        metrics=["accuracy", "recall"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="audio-classification",
                task_name="Speech emotion recognition",
                dataset_type=corpus.name if not metrics["corpus_faults"] else "other",
                dataset_name=f"{title_of(corpus, metrics['corpus_faults'])}, fold {metrics['fold']}: "
                f"{metrics['test_group']}",
                dataset_split=metrics["test_group"],
                metric_type=metric_type,
                metric_name=metric_name,
                metric_value=round(100 * metrics[key], 2),
            )
            for key, metric_type, metric_name in (
                ("WA", "accuracy", "WA, weighted accuracy (%)"),
                ("UA", "recall", "UA, unweighted accuracy: mean of the emotions' recalls (%)"),
            )
        ],
    )
    # Labels, groups and sentences about the corpus come from outside.
    shown = {key: escape_markdown(value) for key, value in metrics.items()}
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_text(shown, settings, corpus, _code(name)[1:-1])}"))


def title_of(corpus: Corpus, faults: Sequence[str]) -> str:
    """Name what a model was trained on: a corpus, or what is only in its format, or a part of it.

    Example
    -------
    >>> title_of(get_corpus("iemocap"), ["Session5 is missing."])
    "recordings in IEMOCAP's format"
    """
    return f"recordings in {corpus.title}'s format" if faults else corpus.title


def _text(metrics: Mapping[str, Any], settings: Mapping[str, Any], corpus: Corpus, name: str) -> str:
    rows = "\n".join(
        f"| {emo} | {'-' if recall is None else f'{100 * recall:.1f}'} | {sum(counts)} |"
        for (emo, recall), counts in zip(metrics["recall"].items(), metrics["confusion"])
    )
    title = title_of(corpus, metrics["corpus_faults"])
    about_corpus = "".join(f"\n**{note}**\n" for note in (*metrics["corpus_faults"], corpus.note) if note)
    terms = corpus.licence or (
        "The terms of the recordings hold for what is trained on them: fill in what they say before you publish."
    )
    order = ", ".join(f"{i} = {emo}" for i, emo in enumerate(metrics["emotions"]))
    packages = ", ".join(f"{package} {number}" for package, number in metrics["versions"].items())
    folds = "as its corpus was published" if metrics["test_group"] == PUBLISHED else "leave one group out"
    leaks = "".join(f"\n**{caution}**" for caution in metrics.get("fold_cautions", ()))
    return f"""\
# Speech emotion recognition: {", ".join(metrics["emotions"])}

A classifier of {len(metrics["emotions"])} emotions in speech, trained on {title} by the method of Kang, Zhang and
Jiang, [Learning Robust Self-Attention Features for Speech Emotion Recognition with Label-Adaptive Mixup]({PAPER})
(ICASSP 2023): {_method(settings, metrics["encoder_config"]["model_type"])}.
{about_corpus}
## Use

```python
from speechbrain_ext.inference import load_classifier  # validates the bundle, and runs no code of it

classifier = load_classifier("{name}")
log_posteriors, score, index, labels = classifier.classify_file("recording.wav")
```

`speechbrain.inference.classifiers.EncoderClassifier.from_hparams(source="{name}")` gives the same answers, but
runs whatever the folder's hyperparams.yaml names. `speechbrain-ext predict {name} recordings/` classifies a folder.

Input: mono waveforms at {settings["sample_rate"]} Hz; `classify_file` converts other files. Posteriors come in the
order {order}.

## Result

Fold {metrics["fold"]} of {metrics["n_folds"]} ({folds}), seed {metrics["seed"]}: trained without
{metrics["test_group"]}, tested on its {metrics["n"]} utterances.{leaks}

**WA {100 * metrics["WA"]:.2f}%, UA {100 * metrics["UA"]:.2f}%.** WA is the share of correct decisions, UA the mean of
the emotions' recalls.

| emotion | recall (%) | utterances |
|---|---|---|
{rows}

{VALIDATIONS[metrics["validation"]]}; the weights are those of epoch {metrics["tested_epoch"]} of
{metrics["n_epochs"]}. Nothing was chosen by the test utterances. One fold with one seed is one draw: other folds and
seeds give other numbers, and the mean over all is the result of the method, not of this model.

## Limits

- It knows the speakers and the kind of recording of one corpus: do not expect these numbers elsewhere, and do not
  judge people by this model's output.
- It always answers with one of its {len(metrics["emotions"])} labels, also for music, noise or silence.
- The posteriors are not calibrated.
{_padding_limit(settings)}
## Licence

{terms}

## Versions

{packages}. Corpus fingerprint `{metrics["manifest"]}`.
"""


def _method(settings: Mapping[str, Any], model_type: str) -> str:
    source = settings["encoder_source"]
    if model_type == MODEL_TYPE:
        return ", ".join(["filterbanks and a small ECAPA-TDNN, trained from scratch", *_techniques(settings)])
    encoder = _code(_hub_id(source) or Path(source).name) if source else "an encoder that was never pretrained"
    return ", ".join([f"the first {settings['num_layers']} layers of {encoder}", *_techniques(settings)])


def _code(name: str) -> str:
    """Write a name as code, from which no character leads out."""
    return f"`{printable(name).replace('`', chr(39))}`"


def _hub_id(source: Optional[str]) -> Optional[str]:
    """Tell a Hub id from a folder, which a run's settings hold as a whole path: the card shows no path."""
    return source if source and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source) else None


def _techniques(settings: Mapping[str, Any]) -> list[str]:
    mixup = [f"{settings['mixup_method'].replace('_', '-')} mixup"] if settings["mixup_prob"] > 0 else []
    lora = ["LoRA"] if settings["lora_rank"] else []
    return [*lora, *mixup, *(["center loss"] if settings["lambda_c"] > 0 else [])]


def _padding_limit(settings: Mapping[str, Any]) -> str:
    if not settings["mask_padding"] and settings["fixed_length_s"] is None:
        return "- A clip's posteriors depend on the other clips of its batch: use batches of one.\n"
    return ""
