"""The model card of an exported fold: what was trained on what, how it was tested, and what it is not for."""

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from speechbrain_ext.corpora.synthetic import NOTE

IEMOCAP_TERMS = (
    "IEMOCAP is released by the University of Southern California for research, to those who sign its terms "
    "(https://sail.usc.edu/iemocap/iemocap_release.htm). Whether weights trained on it may be passed on, and for what "
    "they may be used, is for whoever publishes this model to settle with them."
)
PAPER = "https://arxiv.org/abs/2305.06273"
VALIDATIONS = {
    "random": "The epoch was chosen on a random part of the training groups' utterances: their speakers are trained on",
    "group": "The epoch was chosen on one of the training groups, whose speakers are not trained on",
    "none": "Training went on for a fixed number of epochs; nothing validated",
}


def model_card(metrics, settings, corpus, name):
    """Write the card of one fold's model.

    Arguments
    ---------
    metrics : dict
        The fold's test_metrics.json.
    settings : dict
        The fold's settings.
    corpus : str
        "IEMOCAP", "demo" for the synthetic corpus, or the name of another one.
    name : str
        The bundle's folder, or USER/NAME.

    Returns
    -------
    str
        Markdown with metadata.
    """
    title = {"IEMOCAP": "IEMOCAP", "demo": "the synthetic demo corpus"}.get(corpus, corpus)
    source = settings["encoder_source"]
    data = ModelCardData(
        library_name="speechbrain",
        pipeline_tag="audio-classification",
        language="en" if corpus in ("IEMOCAP", "demo") else None,
        license="apache-2.0" if corpus == "demo" else "other",
        license_name=None if corpus == "demo" else "terms-of-the-corpus",
        base_model=source if source and source.count("/") == 1 and not source.startswith((".", "/")) else None,
        tags=["speech-emotion-recognition", "hubert", "mixup", "center-loss"],
        metrics=["accuracy", "recall"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="audio-classification",
                task_name="Speech emotion recognition",
                dataset_type="iemocap" if corpus == "IEMOCAP" else "other",
                dataset_name=f"{title}, fold {metrics['fold']}: {metrics['test_group']}",
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
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_text(metrics, settings, corpus, title, name)}"))


def _text(metrics, settings, corpus, title, name):
    rows = "\n".join(
        f"| {emo} | {'-' if recall is None else f'{100 * recall:.1f}'} | {sum(counts)} |"
        for (emo, recall), counts in zip(metrics["recall"].items(), metrics["confusion"])
    )
    source = settings["encoder_source"]
    encoder = f"`{source}`" if source else "an encoder that was never pretrained"
    if corpus == "IEMOCAP":
        about_corpus, terms = "", IEMOCAP_TERMS
    elif corpus == "demo":
        about_corpus, terms = (
            f"\n**{NOTE}**\n",
            "The synthetic corpus is free of rights of others; the code is Apache-2.0.",
        )
    else:
        about_corpus = f"\n**This model was not trained on IEMOCAP**, but on {title}.\n"
        terms = f"The terms of {title} hold for what is trained on it: fill in what they say before you publish."
    order = ", ".join(f"{i} = {emo}" for i, emo in enumerate(metrics["emotions"]))
    packages = ", ".join(f"{package} {number}" for package, number in metrics["versions"].items())
    return f"""\
# Speech emotion recognition: {", ".join(metrics["emotions"])}

A classifier of {len(metrics["emotions"])} emotions in speech, trained on {title} by the method of Kang, Zhang and
Jiang, [Learning Robust Self-Attention Features for Speech Emotion Recognition with Label-Adaptive Mixup]({PAPER})
(ICASSP 2023): the first {settings["num_layers"]} layers of {encoder}, label-adaptive mixup and center loss.
{about_corpus}
## Use

```python
from speechbrain_ext.inference.classifier import load_classifier  # looks at a bundle before it runs anything in it

classifier = load_classifier("{name}")
log_posteriors, score, index, labels = classifier.classify_file("recording.wav")
```

`speechbrain.inference.classifiers.EncoderClassifier.from_hparams(source="{name}")` gives the same classifier, without
the look. `speechbrain-ext predict {name} recordings/` classifies a folder.

Input: mono waveforms at {settings["sample_rate"]} Hz; `classify_file` converts other files. Posteriors come in the
order {order}.

## Result

Fold {metrics["fold"]} of {metrics["n_folds"]} (leave one group out), seed {metrics["seed"]}: trained without
{metrics["test_group"]}, tested on its {metrics["n"]} utterances.

**WA {100 * metrics["WA"]:.2f}%, UA {100 * metrics["UA"]:.2f}%.** WA is the share of correct decisions, UA the mean of
the emotions' recalls.

| emotion | recall (%) | utterances |
|---|---|---|
{rows}

{VALIDATIONS[metrics["validation"]]}; the weights are those of epoch {metrics["tested_epoch"]} of
{metrics["n_epochs"]}. Nothing was chosen by the test utterances. One fold with one seed is one draw: other folds and
seeds give other numbers, and the mean over all is the result of the method, not of this model.

## Limits

- Acted or synthetic emotion, few speakers, one kind of recording: do not expect these numbers elsewhere, and do not
  judge people by this model's output.
- It always answers with one of its {len(metrics["emotions"])} labels, also for music, noise or silence.
- The posteriors are not calibrated.
{_padding_limit(settings)}
## Licence

{terms}

## Versions

{packages}. Corpus fingerprint `{metrics["manifest"]}`.
"""


def _padding_limit(settings):
    if not settings["mask_padding"] and settings["fixed_length_s"] is None:
        return "- A clip's posteriors depend on the other clips of its batch: use batches of one.\n"
    return ""
