//! Shows a Python traceback: frames of Herder's package are left out, those of installed packages are dim. The source lines
//! are Python's own.

use super::style::Style;

/// Returns the traceback with its last line break; nothing for an empty text.
pub(crate) fn show(traceback: &str, style: Style) -> String {
    let mut shown = String::new();
    let mut hidden = 0;
    let mut lines = traceback.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(frame) = Frame::of(line) else {
            if hidden > 0 {
                shown += &style.dim(&note(std::mem::take(&mut hidden)));
                shown.push('\n');
            }
            shown += &outside(line, style);
            shown.push('\n');
            continue;
        };
        if frame.is_of_herder() {
            hidden += 1;
        } else {
            shown += &frame.head(style);
            shown.push('\n');
        }
        // Source lines and markers are indented deeper than their frame.
        while let Some(source) = lines.next_if(|line| line.starts_with("    ")) {
            if !frame.is_of_herder() {
                shown += &if frame.is_installed() { style.dim(source) } else { source.to_owned() };
                shown.push('\n');
            }
        }
    }
    shown
}

fn note(hidden: usize) -> String {
    let noun = if hidden == 1 { "frame" } else { "frames" };
    format!("  ({hidden} {noun} of Herder left out)")
}

/// Returns a line that belongs to no frame: a heading, the exception, or an empty line.
fn outside(line: &str, style: Style) -> String {
    let is_heading = line.ends_with(':') && (line.starts_with("Traceback") || line.contains("exception"));
    if is_heading || line.starts_with(' ') { style.dim(line) } else { style.red(line) }
}

/// The first line of a frame: `  File "PATH", line N, in NAME`.
struct Frame<'a> {
    path: &'a str,
    rest: &'a str,
}

impl<'a> Frame<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (path, rest) = line.strip_prefix("  File \"")?.split_once('"')?;
        Some(Self { path, rest })
    }

    fn is_of_herder(&self) -> bool {
        let Some((folder, name)) = self.path.rsplit_once('/') else { return false };
        folder.ends_with("/herder") && herder::PYTHON_PACKAGE.iter().any(|(file, _)| *file == name)
    }

    fn is_installed(&self) -> bool {
        self.path.contains("-packages/") || self.path.contains("/lib/python") || self.path.starts_with('<')
    }

    fn head(&self, style: Style) -> String {
        let Self { path, rest } = self;
        let text = |path: &str| format!("  File \"{path}\"{rest}");
        if self.is_installed() { style.dim(&text(path)) } else { text(&style.cyan(path)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEBACK: &str = "Traceback (most recent call last):
  File \"/shop/app.py\", line 7, in fail
    return run(call)
           ^^^^^^^^^
  File \"/cache/herder-0.1/herder/contexts.py\", line 3, in run
    return call()
  File \"/cache/herder-0.1/herder/loop.py\", line 9, in call
    handler()
  File \"/venv/lib/python3.12/site-packages/numpy/core.py\", line 1, in add
    raise ValueError
ValueError: on purpose
";

    #[test]
    fn frames_of_herder_are_left_out_and_counted() {
        let shown = show(TRACEBACK, Style { has_colors: false });
        assert!(!shown.contains("contexts.py") && !shown.contains("handler()"), "{shown}");
        assert!(shown.contains("    return run(call)\n           ^^^^^^^^^\n  File \"/venv/"), "{shown}");
        assert!(shown.ends_with("  (2 frames of Herder left out)\nValueError: on purpose\n"), "{shown}");
        assert_eq!(show("", Style { has_colors: true }), "");
    }

    #[test]
    fn a_file_of_the_user_that_is_named_like_one_of_herder_is_shown() {
        let own = "  File \"/home/ann/herder/app.py\", line 1\n    def f(:\n          ^\nSyntaxError: invalid syntax\n";
        assert!(show(&own.replace("app.py", "shop.py"), Style { has_colors: false }).contains("def f(:"));
        let colored = show(&own.replace("app.py", "shop.py"), Style { has_colors: true });
        assert!(colored.contains("\x1b[36m/home/ann/herder/shop.py\x1b[0m\", line 1\n"), "{colored}");
        assert!(colored.ends_with("\x1b[1;31mSyntaxError: invalid syntax\x1b[0m\n"), "{colored}");
    }
}
