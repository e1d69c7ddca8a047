//! `speed-up.svg`: the calls per second for each number of workers, relative to the smallest number, with the ideal.

use super::super::{
    plan::Plan,
    row::Row,
    spread::{Spread, digits},
};
use super::axis::{Scale, tick};
use super::page::{Anchor, Page, Swatch, coordinate, titled_mark};
use svg::node::element::Circle;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 76.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = HEIGHT - 56.0;
/// The smallest distance between ticks whose numbers do not overlap.
const MIN_TICK_DISTANCE: f64 = 26.0;

/// A measured point.
#[derive(Clone, Copy, Debug)]
struct Point {
    workers: usize,
    speed_up: Spread,
    ideal: f64,
}

/// Returns the chart.
pub(in super::super) fn speed_up(plan: &Plan, rows: &[Row]) -> String {
    let points: Vec<Point> =
        rows.iter().map(|row| Point { workers: row.workers, speed_up: row.speed_up, ideal: row.ideal }).collect();
    let cores = rows.first().map_or(0.0, |row| row.middle().machine.cores);
    curve(&format!("Speed-up of {}", plan.call()), &subtitle(plan), &points, cores)
}

fn subtitle(plan: &Plan) -> String {
    let fewest = plan.workers.first().copied().unwrap_or(1);
    let s = if fewest == 1 { "" } else { "s" };
    format!("pool {}; calls per second relative to {fewest} worker{s} in the same round", plan.config.name())
}

/// Returns the chart of these points.
fn curve(title: &str, second: &str, points: &[Point], cores: f64) -> String {
    let described: Vec<_> = points.iter().map(describe).collect();
    let mut page = Page::new(WIDTH, HEIGHT, title, second, &described.join("; "));
    let (x, y) = scales(points);
    axes(&mut page, &x, &y, points);
    legend(&mut page, points, cores);
    if cores > x.from && cores <= x.to {
        page.line("cores", (x.position(cores), TOP), (x.position(cores), BOTTOM));
    }
    let last = points.last().map_or((0.0, 0.0), |point| (point.workers as f64, point.ideal));
    page.line("ideal", (x.position(0.0), y.position(0.0)), (x.position(last.0), y.position(last.1)));
    page.path(
        "measured",
        &through(points.iter().map(|point| (x.position(point.workers as f64), y.position(point.speed_up.median)))),
    );
    points.iter().for_each(|point| mark(&mut page, &x, &y, point));
    page.done()
}

/// Returns the scales. Both start at 0, so that the ideal is a straight line through the origin.
fn scales(points: &[Point]) -> (Scale, Scale) {
    let workers = points.iter().map(|point| point.workers as f64).fold(1.0, f64::max);
    let highest = points.iter().map(|point| point.ideal.max(point.speed_up.max)).fold(1.0, f64::max);
    let x = Scale { from: 0.0, to: workers * 1.04, at: (LEFT, RIGHT) };
    (x, Scale { from: 0.0, to: highest * 1.06, at: (BOTTOM, TOP) })
}

fn axes(page: &mut Page, x: &Scale, y: &Scale, points: &[Point]) {
    for number in y.ticks(6.0) {
        let at = y.position(number);
        page.line("grid", (LEFT, at), (RIGHT, at));
        page.text("quiet", LEFT - 8.0, at + 4.0, Anchor::End, &format!("{}×", tick(number)));
    }
    page.line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    let mut before = f64::NEG_INFINITY;
    for point in points {
        let at = x.position(point.workers as f64);
        page.line("axis", (at, BOTTOM), (at, BOTTOM + 5.0));
        if at - before >= MIN_TICK_DISTANCE {
            page.text("", at, BOTTOM + 20.0, Anchor::Middle, &point.workers.to_string());
            before = at;
        }
    }
    page.text("quiet", f64::midpoint(LEFT, RIGHT), BOTTOM + 42.0, Anchor::Middle, "workers");
}

fn legend(page: &mut Page, points: &[Point], cores: f64) {
    let most = points.iter().map(|point| point.workers).max().unwrap_or(1) as f64;
    let machine = format!("the machine's {} core{}", tick(cores), if cores == 1.0 { "" } else { "s" });
    let mut entries: Vec<(&str, Swatch)> = vec![
        ("median, measured", |page, x, y| {
            page.line("measured", (x, y), (x + 22.0, y));
            page.put(dot(x + 11.0, y));
        }),
        ("minimum to maximum", |page, x, y| whisker(page, x + 11.0, y - 6.0, y + 6.0)),
        ("ideal", |page, x, y| page.line("ideal", (x, y), (x + 22.0, y))),
    ];
    if cores > 0.0 && cores <= most {
        entries.push((&machine, |page, x, y| page.line("cores", (x + 11.0, y - 8.0), (x + 11.0, y + 8.0))));
    }
    page.legend(74.0, &entries);
}

fn mark(page: &mut Page, x: &Scale, y: &Scale, point: &Point) {
    let (at, median) = (x.position(point.workers as f64), y.position(point.speed_up.median));
    whisker(page, at, y.position(point.speed_up.max), y.position(point.speed_up.min));
    page.put(titled_mark(dot(at, median), &describe(point)));
    // Place the text below and to the right of the point: the curve is never steeper than the ideal, so it does not
    // cross the text.
    page.text(
        "",
        at + 9.0,
        y.position(point.speed_up.min).max(median) + 16.0,
        Anchor::Start,
        &format!("{}×", digits(point.speed_up.median)),
    );
}

fn describe(point: &Point) -> String {
    let Spread { min: least, median, max: most } = point.speed_up;
    let s = if point.workers == 1 { "" } else { "s" };
    let [least, median, most, ideal] = [least, median, most, point.ideal].map(digits);
    format!("{} worker{s}: {median} times as fast, from {least} to {most}; ideal {ideal}", point.workers)
}

fn dot(x: f64, y: f64) -> Circle {
    Circle::new().set("class", "point").set("cx", coordinate(x)).set("cy", coordinate(y)).set("r", 4.5)
}

fn whisker(page: &mut Page, x: f64, top: f64, bottom: f64) {
    page.line("measured", (x, top), (x, bottom));
    for end in [top, bottom] {
        page.line("measured", (x - 4.0, end), (x + 4.0, end));
    }
}

fn through(places: impl Iterator<Item = (f64, f64)>) -> String {
    let steps = places
        .enumerate()
        .map(|(at, (x, y))| format!("{}{} {}", if at == 0 { "M" } else { "L" }, coordinate(x), coordinate(y)));
    steps.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use roxmltree::{Document, Node};

    fn point(workers: usize, least: f64, median: f64, most: f64) -> Point {
        Point { workers, speed_up: Spread { min: least, median, max: most }, ideal: workers as f64 }
    }

    fn points<'a>(chart: &'a Document<'_>) -> Vec<Node<'a, 'a>> {
        let circles = chart.descendants().filter(|node| node.has_tag_name("circle"));
        circles.filter(|circle| circle.parent().unwrap().has_tag_name("g")).collect()
    }

    fn number(node: Node<'_, '_>, attribute: &str) -> f64 {
        node.attribute(attribute).unwrap().parse().unwrap()
    }

    #[test]
    fn points_are_drawn_at_their_measured_values() {
        let measured =
            [point(1, 1.0, 1.0, 1.0), point(2, 1.8, 1.9, 2.0), point(4, 1.7, 2.1, 2.2), point(8, 1.9, 2.0, 2.4)];
        let text = curve("Speed-up of burn", "pool basic", &measured, 2.0);
        let chart = Document::parse(&text).unwrap();
        let drawn = points(&chart);
        assert_eq!(drawn.len(), 4);
        let (x, y) = scales(&measured);
        for (circle, point) in drawn.iter().zip(&measured) {
            assert!((number(*circle, "cx") - x.position(point.workers as f64)).abs() < 0.01);
            assert!((number(*circle, "cy") - y.position(point.speed_up.median)).abs() < 0.01);
        }
        assert_eq!(
            drawn[3].parent().unwrap().first_element_child().unwrap().text().unwrap(),
            "8 workers: 2.00 times as fast, from 1.90 to 2.40; ideal 8.00"
        );
        insta::with_settings!({ prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("speed-up.svg", text);
        });
    }

    /// A line for the cores that lies beyond the last point would have no meaning.
    #[test]
    fn cores_beyond_the_last_point_are_not_drawn() {
        let line = |cores| {
            let text = curve("", "", &[point(1, 1.0, 1.0, 1.0), point(4, 3.9, 3.9, 3.9)], cores);
            text.matches("class=\"cores\"").count()
        };
        assert_eq!((line(2.0), line(4.0), line(8.0)), (2, 2, 0), "in the chart and in the legend");
    }

    /// A chart can have a single point, and the numbers of adjacent ticks do not overlap.
    #[test]
    fn any_numbers_of_workers_can_be_drawn() {
        assert_eq!(points(&Document::parse(&curve("", "", &[point(3, 1.0, 1.0, 1.0)], 2.0)).unwrap()).len(), 1);
        let many: Vec<_> = (1..=64).map(|workers| point(workers, 1.0, 1.0, 1.0)).collect();
        let text = curve("", "", &many, 2.0);
        let chart = Document::parse(&text).unwrap();
        let numbered: Vec<f64> = chart
            .descendants()
            .filter(|node| node.attribute("y") == Some(&coordinate(BOTTOM + 20.0).to_string()))
            .map(|node| number(node, "x"))
            .collect();
        assert!(
            numbered.len() > 10 && numbered.windows(2).all(|pair| pair[1] - pair[0] >= MIN_TICK_DISTANCE),
            "{numbered:?}"
        );
    }
}
