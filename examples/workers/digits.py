"""Handwritten digits, 8 x 8 pixels each: a model that is trained once in each worker, and then answers in microseconds.

Needs numpy and scikit-learn: `python3 -m venv .venv && .venv/bin/pip install numpy scikit-learn`.
Try it: `herder serve examples/workers/digits.py:app --pool-size 2`, then
`herder call digits accuracy`
"""
import herder

try:
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
except ImportError as missing:  # the start fails with this line, and the pool's callers are told
    raise SystemExit(f"digits.py needs numpy and scikit-learn ({missing}): pip install numpy scikit-learn") from None

app = herder.App()

@app.on_start
def train() -> None:  # a fraction of a second; the worker says ready after it
    images, labels = load_digits(return_X_y=True)
    seen, app.state.unseen, known, app.state.answers = train_test_split(images, labels, test_size=0.25, random_state=7)
    app.state.model = LogisticRegression(C=0.01, max_iter=300).fit(seen, known)

@app.command(idempotent=True)
def classify(pixels: list[float]) -> dict:
    """Which digit these 64 pixels (row by row, 0 white to 16 black) show, and how sure that is."""
    image = np.asarray(pixels, dtype=float)
    if image.shape != (64,):
        raise herder.Rejected(f"64 pixels make an image, not {len(pixels)}", code="shape")
    chances = app.state.model.predict_proba(image[np.newaxis])[0]
    return {"digit": int(chances.argmax()), "sure": round(float(chances.max()), 4)}

@app.command(idempotent=True)
def accuracy() -> float:
    """The share of right answers among the images it was not trained on."""
    return float(app.state.model.score(app.state.unseen, app.state.answers))

@app.command(idempotent=True)
def example(number: int = 0) -> dict:
    """An image it was not trained on, to be classified."""
    number %= len(app.state.answers)
    return {"pixels": app.state.unseen[number].tolist(), "digit": int(app.state.answers[number])}
