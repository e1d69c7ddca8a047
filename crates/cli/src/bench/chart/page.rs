//! A page: its size, its style, its title and description, and the few things that are put on it.

use svg::{
    Document, Node,
    node::element::{Description, Group, Line, Path, Rectangle, Style, Text, Title},
};

const STYLE: &str = include_str!("style.css");
/// From the left edge to titles and legends.
pub(super) const MARGIN: f64 = 20.0;
/// How wide a swatch is.
const SWATCH: f64 = 22.0;
/// A letter of a legend, on average.
const LEGEND_CHAR_WIDTH: f64 = 6.4;
/// A letter of a title, and of the line below it, at most on average: a title of any length and font stays on its page.
const TITLE_CHAR_WIDTH: f64 = 9.5;
const SUBTITLE_CHAR_WIDTH: f64 = 7.0;

/// Draws a mark of a legend: from this place to the right, in the middle of its height.
pub(super) type Swatch = fn(&mut Page, f64, f64);

/// What text is to be held by at its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A page in the making.
pub(super) struct Page {
    document: Document,
}

impl Page {
    /// A page of this size, headed by a title and a second, quieter line. `described` is for those who can't see it.
    pub(super) fn new(width: f64, height: f64, title: &str, second: &str, described: &str) -> Self {
        let document = Document::new()
            .set("viewBox", format!("0 0 {width} {height}"))
            .set("width", width)
            .set("height", height)
            .set("role", "img")
            .set("aria-labelledby", "title description")
            .add(Title::new(clean(title)).set("id", "title"))
            .add(Description::new().set("id", "description").add(svg::node::Text::new(clean(described))))
            .add(Style::new(STYLE));
        let mut page = Self { document };
        page.put(rectangle("page", 0.0, 0.0, width, height));
        let room = width - 2.0 * MARGIN;
        page.text("title", MARGIN, 28.0, Anchor::Start, &cut(title, room / TITLE_CHAR_WIDTH));
        page.text("quiet", MARGIN, 48.0, Anchor::Start, &cut(second, room / SUBTITLE_CHAR_WIDTH));
        page
    }

    pub(super) fn put(&mut self, node: impl Node) {
        self.document.append(node);
    }

    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, anchor: Anchor, text: &str) {
        self.put(label(class, x, y, anchor, text));
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let line = Line::new().set("class", class).set("x1", coordinate(from.0)).set("y1", coordinate(from.1));
        self.put(line.set("x2", coordinate(to.0)).set("y2", coordinate(to.1)));
    }

    /// A line, or an area, through these places.
    pub(super) fn path(&mut self, class: &str, through: &str) {
        self.put(Path::new().set("class", class).set("d", through));
    }

    /// Marks and what they mean, beside each other.
    pub(super) fn legend(&mut self, y: f64, entries: &[(&str, Swatch)]) {
        let mut x = MARGIN;
        for (meaning, draw) in entries {
            draw(self, x, y);
            self.text("quiet", x + SWATCH + 6.0, y + 4.0, Anchor::Start, meaning);
            x += SWATCH + 6.0 + LEGEND_CHAR_WIDTH * meaning.chars().count() as f64 + 18.0;
        }
    }

    /// The text of the file.
    pub(super) fn done(self) -> String {
        format!("{}\n", self.document)
    }
}

/// A mark, with what a pointer on it, or a screen reader, is told.
pub(super) fn titled_mark(mark: impl Node, told: &str) -> Group {
    Group::new().add(Title::new(clean(told))).add(mark)
}

pub(super) fn rectangle(class: &str, x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    let at = Rectangle::new().set("class", class).set("x", coordinate(x)).set("y", coordinate(y));
    at.set("width", coordinate(width)).set("height", coordinate(height))
}

fn label(class: &str, x: f64, y: f64, anchor: Anchor, text: &str) -> Text {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    Text::new(clean(text))
        .set("class", class)
        .set("x", coordinate(x))
        .set("y", coordinate(y))
        .set("text-anchor", anchor)
}

/// Hundredths of a pixel are enough.
pub(super) fn coordinate(at: f64) -> f64 {
    (at * 100.0).round() / 100.0
}

/// So many letters at most.
fn cut(text: &str, letters: f64) -> String {
    let over = |at: usize| at as f64 > letters;
    if !over(text.chars().count()) {
        return text.into();
    }
    let kept = text.chars().enumerate().take_while(|(at, _)| !over(at + 3));
    kept.map(|(_, letter)| letter).chain("..".chars()).collect()
}

/// XML has no place for control characters, not even escaped.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
