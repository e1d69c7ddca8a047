"""The workers of the shop."""

import herder

PRICES = {"tea": 120, "milk": 90}

app = herder.App()


@app.command
def add(item: str, session: herder.Session) -> list[str]:
    if item not in PRICES:
        raise herder.Rejected(f"we have no {item}", code="unknown_item")
    session.state.setdefault("items", []).append(item)
    return session.state["items"]


@app.command(idempotent=True)
def price(item: str) -> int:
    if item not in PRICES:
        raise herder.Rejected(f"we have no {item}", code="unknown_item")
    return PRICES[item]
