//! The queue and its thread, with a sink that the test controls.

use super::{
    queue::{KEPT, OVERHEAD, URGENT, Wait},
    *,
};
use std::{os::fd::AsFd, sync::mpsc};

/// The result of a write.
enum Step {
    /// Accepts this many bytes, or all if there are fewer.
    Take(usize),
    Fail(io::ErrorKind),
}

/// A sink that answers each write with the next step. When the test has dropped its side, the sink accepts everything.
struct ScriptedSink {
    steps: mpsc::Receiver<Step>,
    written: mpsc::Sender<String>,
}

impl Sink for ScriptedSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.steps.recv().unwrap_or(Step::Take(usize::MAX)) {
            Step::Take(count) => {
                let accepted = &bytes[..count.min(bytes.len())];
                _ = self.written.send(String::from_utf8_lossy(accepted).into_owned());
                Ok(accepted.len())
            }
            Step::Fail(kind) => Err(kind.into()),
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output, the steps of its sink, and the text that the sink has accepted.
struct Harness {
    output: Output,
    steps: mpsc::Sender<Step>,
    written: mpsc::Receiver<String>,
}

fn harness(limits: Limits) -> Harness {
    let ((steps, received_steps), (sender, written)) = (mpsc::channel(), mpsc::channel());
    let output =
        Output::with("test", ScriptedSink { steps: received_steps, written: sender }, limits, Format::Text).unwrap();
    Harness { output, steps, written }
}

fn impatient(bytes: usize) -> Limits {
    Limits { bytes: [bytes; 2], patience: Duration::ZERO, pause: Duration::MAX, ..LIMITS }
}

impl Harness {
    /// Waits until the thread has removed all lines from the queue. It is then writing the last one.
    fn until_writing(&self) {
        let shared = &self.output.0.0;
        while !(shared.lock().writing && shared.lock().lines.is_empty()) {
            thread::yield_now();
        }
    }

    /// Lets the sink accept everything from now on, and returns the complete text.
    fn end(self) -> String {
        drop((self.steps, self.output));
        self.written.into_iter().collect()
    }
}

/// R40, R54: while the sink accepts nothing, lines are queued or dropped, and no thread waits. The log contains the
/// number of missing lines at the place where they are missing.
#[test]
fn r54_log_queue_is_bounded_in_bytes_and_drops_are_reported_in_order() {
    let harness = harness(impatient(10 * (OVERHEAD + 2)));
    harness.output.line("0");
    harness.until_writing();
    (1..=25).for_each(|line| harness.output.line(&line.to_string()[..1]));
    assert_eq!(harness.output.dropped(), 15);
    harness.steps.send(Step::Take(usize::MAX)).unwrap();
    assert_eq!(harness.written.recv().unwrap(), "0\n");
    harness.until_room();
    harness.output.line("a");
    let text = harness.end();
    let (before, after) = text.split_once("dropped 15 log line(s)").unwrap();
    assert!(before.starts_with("1\n2\n") && before.contains("WARN herder::log"), "{text}");
    assert!(after.ends_with("a\n"), "{text}");
}

impl Harness {
    /// Waits until there is space for a short line of the host.
    fn until_room(&self) {
        let shared = &self.output.0.0;
        while !shared.has_room(&shared.lock(), Source::Host, OVERHEAD + 2) {
            thread::yield_now();
        }
    }
}

/// R40: a worker that prints endlessly does not displace lines of the host.
#[test]
fn r40_workers_and_host_have_separate_budgets() {
    let harness = harness(impatient(1000));
    harness.output.line("first");
    harness.until_writing();
    (0..100).for_each(|_| harness.output.push(Source::Worker, b"printed\n"));
    let dropped = harness.output.dropped();
    assert!(dropped > 80);
    harness.output.line("the host's");
    assert_eq!(harness.output.dropped(), dropped);
    assert!(harness.end().contains("the host's\n"));
}

/// R40: a log that is read slowly loses no lines of workers, as long as they may wait.
#[test]
fn r40_workers_wait_for_a_log_that_is_read() {
    let harness = harness(Limits { bytes: [1000; 2], patience: Duration::MAX, pause: Duration::MAX, ..LIMITS });
    let lines: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
    let reader = thread::spawn({
        let steps = harness.steps.clone();
        move || (0..1000).for_each(|_| steps.send(Step::Take(usize::MAX)).unwrap())
    });
    lines.iter().for_each(|line| harness.output.push(Source::Worker, line.as_bytes()));
    reader.join().unwrap();
    assert_eq!(harness.output.dropped(), 0);
    assert_eq!(harness.end(), lines.concat());
}

/// R40: no error of the sink ends the thread. Lines that could not be written are counted, and reported once a write
/// succeeds.
#[test]
fn r40_after_errors_of_the_sink_writing_continues() {
    let harness = harness(LIMITS);
    for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        harness.output.line("lost");
        harness.steps.send(Step::Fail(kind)).unwrap();
    }
    for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted] {
        harness.output.line("delayed");
        harness.steps.send(Step::Fail(kind)).unwrap();
    }
    let shared = harness.output.0.0.clone();
    let text = harness.end();
    assert_eq!(shared.dropped.load(Ordering::Relaxed), 3);
    assert!(text.contains("dropped 3 log line(s)"), "{text}");
    assert!(text.ends_with("\ndelayed\ndelayed\n") && !text.contains("lost"), "{text}");
}

/// R40: after a line that was written in part, the next one starts on a new line.
#[test]
fn r40_a_partly_written_line_is_ended() {
    let harness = harness(LIMITS);
    harness.output.line("abc");
    harness.steps.send(Step::Take(2)).unwrap();
    harness.steps.send(Step::Fail(io::ErrorKind::StorageFull)).unwrap();
    harness.output.line("def");
    let text = harness.end();
    assert!(text.starts_with("ab\n") && text.contains("dropped 1 log line(s)") && text.ends_with("\ndef\n"), "{text}");
}

/// R54: a long line is cut between two characters.
#[test]
fn r54_a_long_line_is_cut() {
    assert_eq!(&*cut(b"short\n"), b"short\n");
    let line = "x".to_owned() + &"é".repeat(LONGEST);
    let text = String::from_utf8(cut(line.as_bytes()).into_owned()).unwrap();
    assert!(text.ends_with("é... (65538 bytes more)\n"), "{}", &text[text.len() - 40..]);
}

/// R54: a JSON line is not cut, since half an object is no JSON. What stands in the place of secrets can make it longer than others.
#[test]
fn r54_a_json_line_is_not_cut() {
    let ((sender, written), (_, steps)) = (mpsc::channel(), mpsc::channel()); // the sink accepts everything
    let output = Output::with("test", ScriptedSink { steps, written: sender }, LIMITS, Format::Json).unwrap();
    let line = [&vec![b'x'; 2 * LONGEST][..], b"\n"].concat();
    output.push(Source::Host, &line);
    drop(output);
    assert_eq!(written.into_iter().collect::<String>().len(), line.len());
}

/// R30: the end of the process waits for queued lines, but only for a limited time.
#[test]
fn r30_finish_flushes_writable_lines() {
    let harness = harness(LIMITS);
    harness.output.line("last line");
    harness.output.finish(Duration::ZERO); // the sink accepts nothing: `finish` returns
    harness.steps.send(Step::Take(usize::MAX)).unwrap();
    harness.output.finish(Duration::MAX);
    assert_eq!(harness.written.try_recv().unwrap(), "last line\n");
}

/// R40: lines that wait are written together, but whole, and no more than a pipe takes as a whole. When one of them cannot be
/// written, only this one is lost.
#[test]
fn r40_waiting_lines_are_written_together() {
    let harness = harness(LIMITS);
    harness.output.line("first");
    harness.until_writing();
    let lines: Vec<String> = (0..100).map(|number| format!("{number:0>99}\n")).collect();
    lines.iter().for_each(|line| harness.output.push(Source::Worker, line.as_bytes()));
    let (whole, partial, error) = (Step::Take(usize::MAX), Step::Take(250), Step::Fail(io::ErrorKind::StorageFull));
    [whole, Step::Take(usize::MAX), partial, error].into_iter().for_each(|step| harness.steps.send(step).unwrap());
    drop((harness.steps, harness.output));
    let written: Vec<String> = harness.written.into_iter().collect();
    assert_eq!(written[..3], ["first\n".to_owned(), lines[..40].concat(), lines[40..43].concat()[..250].to_owned()]);
    assert!(written[3].starts_with('\n') && written[3].contains("dropped 1 log line(s)"), "{}", written[3]);
    assert_eq!(written[4..], [lines[43..80].concat(), lines[80..].concat()]);
}

/// R30, R40: a pause, however long, ends when somebody waits for the lines or when many have come.
#[test]
fn r40_lines_that_are_waited_for_are_written_without_a_pause() {
    let harness = harness(Limits { pause: Duration::MAX, ..LIMITS });
    drop(harness.steps); // the sink accepts everything
    let until_paused = || {
        let shared = &harness.output.0.0;
        while shared.lock().waits_for != Some(Wait::Pause) {
            thread::yield_now();
        }
    };
    harness.output.line("first");
    until_paused();
    harness.output.line("second");
    assert_eq!(harness.written.try_iter().collect::<String>(), "first\n");
    harness.output.finish(Duration::MAX);
    assert_eq!(harness.written.try_iter().collect::<String>(), "second\n");
    harness.output.line("third"); // after a pause that has ended, at once
    assert_eq!(harness.written.recv().unwrap(), "third\n");
    until_paused();
    harness.output.push(Source::Worker, &[&[b'x'; URGENT - 1][..], b"\n"].concat());
    assert_eq!(harness.written.recv().unwrap().len(), URGENT);
    until_paused();
    harness.output.line("last");
    drop(harness.output);
    assert_eq!(harness.written.into_iter().collect::<String>(), "last\n");
}

/// R40: the memory of a backlog is given back once it is written.
#[test]
fn r40_a_backlog_keeps_no_memory() {
    let harness = harness(LIMITS);
    harness.output.line("first");
    harness.until_writing();
    let long = [&[b'x'; LONGEST - 1][..], b"\n"].concat();
    (0..20).for_each(|_| harness.output.push(Source::Worker, &long));
    assert_eq!(harness.output.dropped(), 0);
    let capacity = || harness.output.0.0.lock().text.capacity();
    assert!(capacity() > KEPT);
    (0..21).for_each(|_| harness.steps.send(Step::Take(usize::MAX)).unwrap());
    harness.output.finish(Duration::MAX);
    assert!(capacity() <= KEPT);
    assert_eq!(harness.written.iter().take(21).map(|text| text.len()).sum::<usize>(), 6 + 20 * LONGEST);
}

/// R40: only a file takes many lines as a whole.
#[test]
fn r40_more_lines_are_written_together_to_a_file() {
    let batch = |output: Output| output.0.0.limits.batch;
    let file = tempfile::tempfile().unwrap();
    assert_eq!(batch(Output::start("test", file.as_fd(), Format::Text).unwrap()), FILE_BATCH);
    let (_reader, pipe) = std::io::pipe().unwrap();
    assert_eq!(batch(Output::start("test", pipe.as_fd(), Format::Text).unwrap()), BATCH);
}
