//! The checks as text. Pure.

use super::check::{Check, Level};
use crate::console::{Style, printable};

/// The width of the columns before the text.
const INDENT: usize = 24;

/// Renders one line for each check, and two more for each finding. Lines are broken at `width` columns, if given.
pub(super) fn render(checks: &[Check], style: Style, width: Option<usize>) -> String {
    let mut lines: Vec<String> = checks.iter().map(|check| one(check, style, width)).collect();
    let findings = checks.iter().filter(|check| check.level != Level::Ok).count();
    lines.push(format!("{} checks, {findings} {}", checks.len(), if findings == 1 { "finding" } else { "findings" }));
    lines.join("\n")
}

fn one(check: &Check, style: Style, width: Option<usize>) -> String {
    let level = match check.level {
        Level::Ok => style.green("ok     "),
        Level::Warning => style.yellow("warning"),
        Level::Error => style.red("error  "),
    };
    let found = match &check.pool {
        Some(pool) => format!("{pool}: {}", check.found),
        None => check.found.clone(),
    };
    let mut text = format!("{level}  {:<14} {}", check.check, wrapped(&found, width));
    let details = [("why: ", &check.why), ("do:  ", &check.action)];
    for (name, detail) in details.into_iter().filter_map(|(name, detail)| Some((name, detail.as_ref()?))) {
        text += &format!("\n{:INDENT$}{}", "", wrapped(&format!("{name}{detail}"), width));
    }
    text
}

/// Breaks the text between words. Its lines are indented below the first one; line breaks of the text are kept.
fn wrapped(text: &str, width: Option<usize>) -> String {
    let limit = width.map_or(usize::MAX, |width| width.saturating_sub(INDENT).max(30));
    let lines = printable(text).lines().map(|line| broken(line, limit)).collect::<Vec<_>>();
    lines.concat().join(&format!("\n{:INDENT$}", ""))
}

fn broken(line: &str, limit: usize) -> Vec<String> {
    let (mut lines, mut current) = (Vec::new(), String::new());
    for word in line.split(' ') {
        let is_full = current.chars().count() + 1 + word.chars().count() > limit;
        if is_full && !current.is_empty() {
            lines.push(std::mem::take(&mut current));
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current += word;
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { has_colors: false };

    #[test]
    fn findings_say_why_they_matter_and_what_to_do() {
        let slow =
            Check::warning("import", "importing app.py:app takes 4.2 s", "each start waits\nfor it", "import less");
        let checks = [Check::ok("clock", "no jump"), slow.of("carts")];
        let expected = "\
ok       clock          no jump
warning  import         carts: importing app.py:app takes 4.2 s
                        why: each start waits
                        for it
                        do:  import less
2 checks, 1 finding";
        assert_eq!(render(&checks, PLAIN, None), expected);
        let narrow = render(&checks, PLAIN, Some(56));
        assert!(narrow.contains("carts: importing app.py:app\n                        takes 4.2 s\n"), "{narrow}");
    }
}
