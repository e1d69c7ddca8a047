"""A command that runs many calls at once, as a model on a GPU does.

Try it: `herder serve examples/workers/sentiment.py:app --pool-size 1`, then
`herder call sentiment classify --arg text='a good book'`. Under load, one invocation classifies up to 32 texts;
`herder status sentiment` shows the sizes of the batches.
"""

from dataclasses import dataclass

import herder

app = herder.App()
GOOD, BAD = {"good", "great", "fine"}, {"bad", "poor", "dull"}


@dataclass
class Review:
    text: str


@app.batch(max_batch_size=32, max_wait="2ms")
def classify(reviews: list[Review]) -> list[float]:
    """Return the sentiment of a text, from -1 to 1."""
    return [score(review.text) for review in reviews]


def score(text: str) -> float | Exception:
    words = text.lower().split()
    if not words:
        return herder.Rejected("the text has no words", code="empty")
    return (sum(word in GOOD for word in words) - sum(word in BAD for word in words)) / len(words)
