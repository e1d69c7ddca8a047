//! The curves as an SVG file: one panel for each subject, with logarithmic axes. A flat line is constant time, a line that follows
//! the dashed one is linear time.

use crate::{Curve, Point};
use svg::{
    Document, Node,
    node::element::{Circle, Group, Line, Polyline, Rectangle, Style, Text, Title},
};

const STYLE: &str = "\
text { font-family: system-ui, \"DejaVu Sans\", sans-serif; font-size: 12px; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.page { fill: #ffffff }
.grid { stroke: #d1d9e0 }
.linear { stroke: #59636e; stroke-dasharray: 6 4 }
polyline { fill: none; stroke-width: 2 }
";
/// Colours that color-blind readers can distinguish (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const PANEL: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 80.0;
const PLOT: (f64, f64) = (310.0, 300.0);
const LEGEND: f64 = TOP + PLOT.1 + 50.0;
const HEIGHT: f64 = LEGEND + 6.0 * 20.0 + 10.0;

/// Returns the text of the file.
pub(crate) fn draw(subjects: &[(&str, Vec<Curve>)]) -> String {
    let width = PANEL * subjects.len() as f64;
    let mut page = Document::new().set("viewBox", format!("0 0 {width} {HEIGHT}")).set("role", "img");
    page.append(Title::new("Instructions of an operation by size"));
    page.append(Style::new(STYLE));
    page.append(Rectangle::new().set("class", "page").set("width", width).set("height", HEIGHT));
    let all = || subjects.iter().flat_map(|(_, curves)| curves).flat_map(|curve| &curve.points);
    let highest = all().map(|point| point.instructions).fold(1000.0, f64::max);
    let lowest = all().map(|point| point.instructions).fold(1000.0, f64::min);
    for (index, (subject, curves)) in subjects.iter().enumerate() {
        let largest = curves.iter().flat_map(|curve| &curve.points).map(|point| point.size).max().unwrap_or(1);
        let scales = Scales {
            x: Log { to: digits(largest as f64).ceil(), from: 0.0 },
            y: Log { from: digits(lowest).floor(), to: digits(highest).ceil() },
        };
        let mut panel = Group::new().set("transform", format!("translate({} 0)", PANEL * index as f64));
        axes(&mut panel, &scales, subject);
        for ((curve, colour), row) in curves.iter().zip(COLOURS.iter().cycle()).zip(0..) {
            line(&mut panel, &scales, curve, colour);
            let y = LEGEND + 20.0 * f64::from(row);
            panel.append(
                Rectangle::new()
                    .set("x", LEFT)
                    .set("y", y - 9.0)
                    .set("width", 14)
                    .set("height", 4)
                    .set("fill", *colour),
            );
            panel.append(text("", "start", LEFT + 20.0, y - 3.0, &curve.operation));
        }
        page.append(panel);
    }
    format!("{page}\n")
}

/// The decimal logarithms of the ends of an axis.
struct Log {
    from: f64,
    to: f64,
}

impl Log {
    /// Returns the position of a value between 0 and 1.
    fn position(&self, value: f64) -> f64 {
        (digits(value) - self.from) / (self.to - self.from)
    }

    /// Returns the powers of ten on the axis.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (from, to) = (self.from as i32, self.to as i32);
        (from..=to).map(|exponent| 10_f64.powi(exponent))
    }
}

struct Scales {
    x: Log,
    y: Log,
}

impl Scales {
    fn position(&self, size: f64, instructions: f64) -> (f64, f64) {
        (LEFT + PLOT.0 * self.x.position(size), TOP + PLOT.1 * (1.0 - self.y.position(instructions)))
    }
}

fn axes(panel: &mut Group, scales: &Scales, subject: &str) {
    panel.append(text("title", "start", LEFT, 28.0, &format!("Instructions by number of {subject}")));
    let (left, bottom) = (LEFT, TOP + PLOT.1);
    for value in scales.y.ticks() {
        let y = scales.position(1.0, value).1;
        panel.append(segment("grid", (left, y), (left + PLOT.0, y)));
        panel.append(text("", "end", left - 8.0, y + 4.0, &number(value)));
    }
    for value in scales.x.ticks() {
        let x = scales.position(value, 1.0).0;
        panel.append(segment("grid", (x, TOP), (x, bottom)));
        panel.append(text("", "middle", x, bottom + 18.0, &number(value)));
    }
    // Linear time: as many instructions more as the size is larger, from the lower left corner.
    let span = (scales.x.to - scales.x.from).min(scales.y.to - scales.y.from);
    let end = scales.position(10_f64.powf(scales.x.from + span), 10_f64.powf(scales.y.from + span));
    panel.append(segment("linear", (left, bottom), end));
}

fn line(panel: &mut Group, scales: &Scales, curve: &Curve, colour: &str) {
    let at = |point: &Point| scales.position(point.size as f64, point.instructions);
    let through: Vec<String> = curve.points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    panel.append(Polyline::new().set("points", through.join(" ")).set("stroke", colour));
    for point in &curve.points {
        let (x, y) = at(point);
        let tooltip = format!("{}: {:.0} instructions at {}", curve.operation, point.instructions, point.size);
        let dot = Circle::new().set("cx", x).set("cy", y).set("r", 3.5).set("fill", colour);
        panel.append(Group::new().add(Title::new(tooltip)).add(dot));
    }
}

fn text(class: &str, anchor: &str, x: f64, y: f64, text: &str) -> Text {
    Text::new(text).set("class", class).set("text-anchor", anchor).set("x", x).set("y", y)
}

fn segment(class: &str, from: (f64, f64), to: (f64, f64)) -> Line {
    Line::new().set("class", class).set("x1", from.0).set("y1", from.1).set("x2", to.0).set("y2", to.1)
}

fn digits(value: f64) -> f64 {
    value.max(1.0).log10()
}

/// Returns a power of ten as axes show it.
fn number(value: f64) -> String {
    match value {
        1e6.. => format!("{:.0}M", value / 1e6),
        1e3.. => format!("{:.0}k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}
