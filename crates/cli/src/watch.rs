//! Repeats the output of a command: redrawn in place on a terminal that obeys escape sequences, appended elsewhere. Changes no mode of the terminal, so that
//! Ctrl-C, which ends the process, leaves nothing to restore.

use crate::{
    console::{is_dumb, printable},
    error::Outcome,
    table,
};
use std::{
    io::{self, Write},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Prints what `read` returns, and again after each interval, until the process is ended or its output is closed. An error after
/// the first output is printed, and it tries again.
///
/// # Errors
/// Fails if the first reading fails.
pub(crate) fn repeat(title: &str, interval: Duration, read: impl Fn() -> Outcome<String>) -> Outcome {
    let mut last = read()?;
    let mut problem = None;
    let mut is_first = true;
    loop {
        let head = match &problem {
            None => format!("{}  {title}", time_of_day()),
            Some(problem) => format!("{}  {title}\n{problem}", time_of_day()),
        };
        let written = match table::terminal_size() {
            Some(size) if !is_dumb() => draw(&redrawn(&format!("{head}\n\n{last}"), size, is_first)),
            _ if problem.is_some() => table::try_print_line(&format!("{head}\n")),
            _ => table::try_print_line(&format!("{head}\n{last}\n")),
        };
        if written.is_err() {
            return Ok(());
        }
        is_first = false;
        pause(interval);
        problem = match read() {
            Ok(text) => {
                last = text;
                None
            }
            Err(error) => Some(error.into_text()),
        };
    }
}

#[expect(clippy::disallowed_methods, reason = "the interval is what the user asked for")]
fn pause(interval: Duration) {
    thread::sleep(interval);
}

/// Returns the time of day in UTC, as in the log.
#[expect(clippy::disallowed_methods, reason = "shown to the user")]
pub(crate) fn time_of_day() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn draw(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

/// Returns what draws the text over the previous one. Lines are cut to the terminal, since a wrapped line would move the others.
fn redrawn(text: &str, (columns, rows): (u16, u16), is_first: bool) -> String {
    let cut = |line: &str| printable(line).chars().take(usize::from(columns)).collect::<String>();
    let mut lines: Vec<String> = text.lines().map(cut).collect();
    let fitting = usize::from(rows).saturating_sub(1).max(1);
    if lines.len() > fitting {
        let hidden = lines.len() - fitting + 1;
        lines.truncate(fitting - 1);
        lines.push(cut(&format!("(lines below: {hidden})")));
    }
    // To the top left corner; each line clears what is left of the previous one, and the last one everything below.
    let clear = if is_first { "\x1b[H\x1b[2J" } else { "\x1b[H" };
    lines.iter().fold(clear.to_owned(), |text, line| text + line + "\x1b[K\n") + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::redrawn;

    #[test]
    fn a_frame_fits_the_terminal() {
        assert_eq!(redrawn("ab\ncdef", (3, 5), true), "\x1b[H\x1b[2Jab\x1b[K\ncde\x1b[K\n\x1b[J");
        assert_eq!(redrawn("1\n2\n3\n4", (20, 4), false), "\x1b[H1\x1b[K\n2\x1b[K\n(lines below: 2)\x1b[K\n\x1b[J");
        assert!(redrawn("\x1b[5m", (20, 4), false).contains("\\u001b[5m"), "a server's text is escaped");
    }
}
