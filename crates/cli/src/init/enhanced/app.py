"""The commands of the pool `NAME`."""

import herder

app = herder.App()


@app.command(idempotent=True)
def price(item: str, pieces: int = 1) -> int:
    """Returns the price of some pieces of an item in cents."""
    if pieces < 1:
        raise herder.Rejected(f"cannot sell {pieces} pieces", code="too-few")
    return 100 * len(item) * pieces


@app.command
def add(session: herder.Session, item: str) -> list[str]:
    """Adds an item to the cart of the session, and returns the cart."""
    cart = session.state.setdefault("cart", [])
    cart.append(item)
    return cart
