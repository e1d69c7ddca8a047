"""Recognizes handwritten digits of 8 x 8 pixels. Each worker trains its model once, at its start.

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
except ImportError as missing:  # the start fails with this message, which callers of the pool receive
    raise SystemExit(f"digits.py needs numpy and scikit-learn ({missing}): pip install numpy scikit-learn") from None

app = herder.App()

@app.on_start
def train() -> None:  # takes a fraction of a second; the worker is ready after it
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images, labels, test_size=0.25, random_state=7)
    train_images, app.state.test_images, train_labels, app.state.test_labels = parts
    app.state.model = LogisticRegression(C=0.01, max_iter=300).fit(train_images, train_labels)

@app.command(idempotent=True)
def classify(pixels: list[float]) -> dict[str, object]:
    """Return the digit that 64 pixels show (row by row, 0 is white, 16 is black), and its probability (`sure`)."""
    image = np.asarray(pixels, dtype=float)
    if image.shape != (64,):
        raise herder.Rejected(f"an image must have 64 pixels, not {len(pixels)}", code="shape")
    probabilities = app.state.model.predict_proba(image[np.newaxis])[0]
    return {"digit": int(probabilities.argmax()), "sure": round(float(probabilities.max()), 4)}

@app.command(idempotent=True)
def accuracy() -> float:
    """Return the fraction of correct answers for the test images, which are not used for training."""
    return float(app.state.model.score(app.state.test_images, app.state.test_labels))

@app.command(idempotent=True)
def example(number: int = 0) -> dict[str, object]:
    """Return a test image and its digit."""
    number %= len(app.state.test_labels)
    return {"pixels": app.state.test_images[number].tolist(), "digit": int(app.state.test_labels[number])}
