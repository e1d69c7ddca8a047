//! A page of a chart: its size, its style, its title and description, and its basic elements.

use svg::{
    Document, Node,
    node::element::{Description, Group, Line, Path, Rectangle, Style, Text, Title},
};

const STYLE: &str = include_str!("style.css");
/// The distance of titles and legends from the left edge.
pub(super) const MARGIN: f64 = 20.0;
/// The width of a legend's symbol.
const SWATCH: f64 = 22.0;
/// The average width of a character in a legend.
const LEGEND_CHAR_WIDTH: f64 = 6.4;
/// The largest average width of a character in a title and in a subtitle, so that titles of any length and font stay on
/// the page.
const TITLE_CHAR_WIDTH: f64 = 9.5;
const SUBTITLE_CHAR_WIDTH: f64 = 7.0;

/// Draws the symbol of a legend entry, from this position to the right, vertically centered.
pub(super) type Swatch = fn(&mut Page, f64, f64);

/// The alignment of a text at its position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A page under construction.
pub(super) struct Page {
    document: Document,
}

impl Page {
    /// Creates a page with a title and a subtitle. `described` is the description for screen readers.
    pub(super) fn new(width: f64, height: f64, title: &str, subtitle: &str, description: &str) -> Self {
        let document = Document::new()
            .set("viewBox", format!("0 0 {width} {height}"))
            .set("width", width)
            .set("height", height)
            .set("role", "img")
            .set("aria-labelledby", "title description")
            .add(Title::new(clean(title)).set("id", "title"))
            .add(Description::new().set("id", "description").add(svg::node::Text::new(clean(description))))
            .add(Style::new(STYLE));
        let mut page = Self { document };
        page.put(rectangle("page", 0.0, 0.0, width, height));
        let room = width - 2.0 * MARGIN;
        page.text("title", MARGIN, 28.0, Anchor::Start, &cut(title, room / TITLE_CHAR_WIDTH));
        page.text("quiet", MARGIN, 48.0, Anchor::Start, &cut(subtitle, room / SUBTITLE_CHAR_WIDTH));
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

    /// Draws a path.
    pub(super) fn path(&mut self, class: &str, through: &str) {
        self.put(Path::new().set("class", class).set("d", through));
    }

    /// Draws symbols with their meanings, side by side.
    pub(super) fn legend(&mut self, y: f64, entries: &[(&str, Swatch)]) {
        let mut x = MARGIN;
        for (meaning, draw) in entries {
            draw(self, x, y);
            self.text("quiet", x + SWATCH + 6.0, y + 4.0, Anchor::Start, meaning);
            x += SWATCH + 6.0 + LEGEND_CHAR_WIDTH * meaning.chars().count() as f64 + 18.0;
        }
    }

    /// Returns the text of the SVG file.
    pub(super) fn done(self) -> String {
        format!("{}\n", self.document)
    }
}

/// Returns a mark with a tooltip, which screen readers read as well.
pub(super) fn titled_mark(mark: impl Node, tooltip: &str) -> Group {
    Group::new().add(Title::new(clean(tooltip))).add(mark)
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

/// Rounds a coordinate to hundredths of a pixel.
pub(super) fn coordinate(at: f64) -> f64 {
    (at * 100.0).round() / 100.0
}

/// Cuts a text to this number of characters.
fn cut(text: &str, letters: f64) -> String {
    let over = |at: usize| at as f64 > letters;
    if !over(text.chars().count()) {
        return text.into();
    }
    let kept = text.chars().enumerate().take_while(|(at, _)| !over(at + 3));
    kept.map(|(_, letter)| letter).chain("..".chars()).collect()
}

/// Replaces control characters by spaces: XML does not allow them, not even escaped.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
