//! Extracts the stacks of an unresponsive worker from its output. Python's `faulthandler` writes them to standard error when
//! the worker gets the signal that its hello named. Pure: time is an argument; sends and reads nothing.

use std::time::{Duration, Instant};

/// The maximum time that a kill waits for the stacks.
pub(crate) const STACK_TIMEOUT: Duration = Duration::from_secs(1);
/// The stacks are complete after this time without another line, because they have no recognizable last line.
const IDLE_TIMEOUT: Duration = Duration::from_millis(50);
/// The maximum size in bytes for the thread that got the signal, and again for all others together. The most recent calls of
/// each are kept.
const SECTION_LIMIT: usize = 8 * 1024;
/// Marks omitted lines.
const TRUNCATION_MARK: &str = "  ... (cut)\n";

/// The stacks of a worker, as far as they have arrived.
#[derive(Debug)]
pub(crate) struct Stack {
    asked: Instant,
    last: Instant,
    part: StackPart,
    current: Section,
    others: Section,
}

/// The part of the output that the next lines belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StackPart {
    Nobody,
    Current,
    Other,
}

/// Lines up to a maximum size.
#[derive(Debug, Default)]
struct Section {
    text: String,
    frames: usize,
    full: bool,
}

impl Stack {
    pub(crate) fn new(now: Instant) -> Self {
        Self { asked: now, last: now, part: StackPart::Nobody, current: Section::default(), others: Section::default() }
    }

    /// Adds a line if it is part of the stacks. Returns whether it is.
    pub(crate) fn take(&mut self, now: Instant, line: &str) -> bool {
        if let Some(part) = begins(line) {
            self.part = part;
        } else if line.starts_with("Traceback ") {
            self.part = StackPart::Nobody; // the traceback of an exception has similar lines
            return false;
        } else if self.part == StackPart::Nobody || !(line.starts_with("  ") || line.is_empty()) {
            return false;
        }
        self.last = now;
        match self.part {
            StackPart::Current => self.current.push(line),
            StackPart::Other | StackPart::Nobody => self.others.push(line),
        }
        true
    }

    /// Returns the time until which only the stacks are awaited.
    pub(crate) fn awaited_until(&self) -> Instant {
        let limit = self.asked + STACK_TIMEOUT;
        if self.current.frames > 0 { limit.min(self.last + IDLE_TIMEOUT) } else { limit }
    }

    /// Returns the stacks, first that of the thread that got the signal, which is the main thread and runs the handlers. `None`
    /// if nothing has arrived.
    pub(crate) fn text(&self) -> Option<String> {
        let sections = [self.current.text.trim_end(), self.others.text.trim_end()];
        let some: Vec<&str> = sections.into_iter().filter(|text| !text.is_empty()).collect();
        (!some.is_empty()).then(|| some.join("\n\n"))
    }
}

/// Whether a line is the first of a thread.
fn begins(line: &str) -> Option<StackPart> {
    if !line.ends_with("(most recent call first):") {
        return None;
    }
    match line.split(' ').next() {
        Some("Current" | "Stack") => Some(StackPart::Current),
        Some("Thread") => Some(StackPart::Other),
        _ => None,
    }
}

impl Section {
    fn push(&mut self, line: &str) {
        self.frames += usize::from(line.starts_with("  "));
        if self.full {
            return;
        }
        if self.text.len() + line.len() + 1 > SECTION_LIMIT - TRUNCATION_MARK.len() {
            self.full = true;
            self.text.push_str(TRUNCATION_MARK);
            return;
        }
        self.text.push_str(line);
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &str = "Thread 0x00007f14 (most recent call first):";
    const CURRENT: &str = "Current thread 0x00007f15 (most recent call first):";

    fn stack(lines: &[&str]) -> (Stack, Vec<bool>) {
        let now = Instant::now();
        let mut stack = Stack::new(now);
        let taken = lines.iter().map(|line| stack.take(now, line)).collect();
        (stack, taken)
    }

    #[test]
    fn the_lines_of_a_stack_are_recognized() {
        let lines = [
            "  File is missing",
            OTHER,
            "  File \"a.py\", line 1 in poll",
            "a log line",
            "",
            CURRENT,
            "  File \"b.py\", line 2 in run",
        ];
        let (stack, taken) = stack(&lines);
        assert_eq!(taken, [false, true, true, false, true, true, true]);
        let text = [CURRENT, "  File \"b.py\", line 2 in run", "", OTHER, "  File \"a.py\", line 1 in poll"].join("\n");
        assert_eq!(stack.text().unwrap(), text, "the thread that got the signal comes first");
        assert_eq!(super::Stack::new(Instant::now()).text(), None);
    }

    /// A worker that becomes responsive during its stop sequence: its later output is not part of the stacks.
    #[test]
    fn a_traceback_after_it_is_none_of_it() {
        let frame = "  File \"b.py\", line 2 in run";
        let raised = "  File \"b.py\", line 2, in run";
        let (stack, taken) =
            stack(&[CURRENT, frame, "Traceback (most recent call last):", raised, "    run()", "KeyError: 1"]);
        assert_eq!(taken, [true, true, false, false, false, false]);
        assert_eq!(stack.text().unwrap(), format!("{CURRENT}\n{frame}"));
    }

    #[test]
    fn stack_is_awaited_until_idle_with_a_limit() {
        let now = Instant::now();
        let mut stack = Stack::new(now);
        assert_eq!(stack.awaited_until(), now + STACK_TIMEOUT);
        stack.take(now + IDLE_TIMEOUT, OTHER);
        stack.take(now + IDLE_TIMEOUT, "  File \"a.py\", line 1 in poll");
        stack.take(now + IDLE_TIMEOUT, CURRENT);
        assert_eq!(stack.awaited_until(), now + STACK_TIMEOUT, "what matters has not come");
        stack.take(now + 2 * IDLE_TIMEOUT, "  File \"b.py\", line 2 in run");
        assert_eq!(stack.awaited_until(), now + 3 * IDLE_TIMEOUT);
        stack.take(now + 2 * STACK_TIMEOUT, "  File \"c.py\", line 3 in run");
        assert_eq!(stack.awaited_until(), now + STACK_TIMEOUT);
    }

    #[test]
    fn it_is_bounded_and_keeps_the_most_recent_calls() {
        let frame = format!("  File \"{}\"", "x".repeat(1000));
        let mut lines = vec![OTHER; 500];
        lines.push(CURRENT);
        lines.push("  File \"b.py\", line 2 in handler");
        lines.extend([frame.as_str(); 100]);
        let text = stack(&lines).0.text().unwrap();
        assert!(text.len() <= 2 * SECTION_LIMIT && text.len() > SECTION_LIMIT, "{}", text.len());
        assert!(text.starts_with(CURRENT) && text.contains("in handler"));
        assert_eq!(text.matches("... (cut)").count(), 2);
    }
}
