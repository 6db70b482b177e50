"""SageMaker's script contract: load once with model_fn, then input_fn, predict_fn and output_fn for each request.

kedge up --detach
kedge deploy examples/script_contract --name words
kedge invoke words --data '{"text": "to be or not to be"}'
"""

import json
from collections import Counter
from pathlib import Path


def model_fn(model_dir):
    """The words that do not count, one a line."""
    return set((Path(model_dir) / "stop_words.txt").read_text().split())


def input_fn(body, content_type):
    if content_type != "application/json":
        raise ValueError(f'content type {content_type}; send application/json such as {{"text": "..."}}')
    return json.loads(body)["text"]


def predict_fn(text, stop_words):
    return Counter(word for word in text.lower().split() if word not in stop_words)


def output_fn(counts, accept):
    return json.dumps(counts.most_common(5)), "application/json"
