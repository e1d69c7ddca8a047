"""Prints what was measured: a table of medians over the rounds, and a picture of the requests per second."""

import statistics

COLUMNS = {"rate": "REQUESTS/S", "p50_us": "P50 US", "p99_us": "P99 US", "p99.9_us": "P99.9 US", "cpu_us": "CPU US"}
STEAL_LIMIT = 0.03
BAR, GAP, WIDTH, LABEL = 18, 6, 420, 190  # pixels


def figures_of(result, name, load, column):
    """The figure of each round, without the rounds in which it was not measured."""
    return [found[column] for figures in result["rounds"] if (found := figures[name].get(load)) and column in found]


def ratios(result, name, base, load):
    """Rates of one server as fractions of another's, one for each round."""
    return [
        mine / other
        for mine, other in zip(
            figures_of(result, name, load, "rate"), figures_of(result, base, load, "rate"), strict=True
        )
    ]


def loads(result):
    return list(dict.fromkeys(load for figures in result["rounds"][0].values() for load in figures))


def table(result):
    machine, first = result["machine"], next(iter(result["rounds"][0]))
    kind = "all on one core" if result["pinned"] else "not pinned"
    lines = [f"{machine['model']}, {machine['cores']} cores, {result['workers']} workers, {kind}"]
    lines += [f"steal {machine['steal']:.1%}, medians of {len(result['rounds'])} rounds, {first} = 1"]
    for load in loads(result):
        title = "open loop at 70 % of its own peak" if load == "open" else f"{load} connections"
        headings = "".join(f"{heading:>12}" for heading in COLUMNS.values())
        lines += ["", f"{title:<34}{headings}       RATIO"]
        for name in result["rounds"][0]:
            if not (rates := figures_of(result, name, load, "rate")):
                continue
            cells = [figures_of(result, name, load, column) for column in COLUMNS]
            row = "".join(f"{statistics.median(cell):>12,.0f}" if cell else f"{'-':>12}" for cell in cells)
            lines.append(f"  {name:<32}{row}{ratio_text(result, name, first, load) if rates else ''}")
    if machine["steal"] > STEAL_LIMIT:
        lines += ["", f"warning: steal was above {STEAL_LIMIT:.0%}; these figures are unreliable"]
    return "\n".join(lines)


def ratio_text(result, name, base, load):
    """The rate as a fraction of the first server's: median, least and greatest of the rounds."""
    found = ratios(result, name, base, load)
    return f"   {statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def svg(result):
    """Bars of the requests per second, with the spread of the rounds, one group for each number of connections."""
    names = list(result["rounds"][0])
    shown = [load for load in loads(result) if load != "open"]
    height = len(shown) * (len(names) * (BAR + GAP) + 40) + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL + WIDTH + 120}" height="{height}"']
    parts += [' font-family="sans-serif" font-size="13" role="img" aria-label="Requests per second">']
    parts += ['<rect width="100%" height="100%" fill="#fff"/>']
    y = 10
    for load in shown:
        parts.append(f'<text x="8" y="{y + 16}" font-weight="bold">requests per second, {load} connections</text>')
        y += 26
        largest = max(max(figures_of(result, name, load, "rate"), default=1) for name in names)
        for name in names:
            if rates := figures_of(result, name, load, "rate"):
                parts += bar(name, rates, largest, y, name == names[0])
                y += BAR + GAP
        y += 14
    return "".join(parts) + "</svg>\n"


def bar(name, rates, largest, y, is_first):
    median = statistics.median(rates)
    width, low, high = (WIDTH * rate / largest for rate in (median, min(rates), max(rates)))
    middle, fill = y + BAR / 2, "#1f6feb" if is_first else "#9aa4af"
    return [
        f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{name}</text>',
        f'<rect x="{LABEL}" y="{y}" width="{width:.0f}" height="{BAR}" fill="{fill}"/>',
        f'<path d="M{LABEL + low:.0f} {middle}H{LABEL + high:.0f}" stroke="#24292f" stroke-width="2"/>',
        f'<text x="{LABEL + high + 6:.0f}" y="{y + 14}">{median:,.0f}</text>',
    ]
