//! R40: what a worker prints becomes log lines with its name, all of them, and the last ones stay at hand.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use herder_process::ExitStatus;
use std::{
    io::{self, Write},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};
use support::{python, shell, started};

/// Once is enough: the formatter keeps what it had formatted and brings it again with the next line.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// The test process has one subscriber. It refuses, by a panic, a line that asks for it.
struct Writer(mpsc::Sender<String>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let refused = text.contains("panic please") && !PANICKED.swap(true, Ordering::SeqCst);
        assert!(!refused, "the subscriber panics");
        self.0.send(text).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything logged so far and from now on that has `label`; waits until `last` was seen.
#[expect(clippy::disallowed_methods, reason = "a guard against hanging")]
fn logged(label: &str, last: &str) -> Vec<String> {
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let is_last = |line: &String| line.contains(label) && line.contains(last);
    let mut seen = SEEN.lock().unwrap();
    let events = events().lock().unwrap();
    let mut found = seen.iter().any(is_last);
    while !found {
        let line = events.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        found = is_last(&line);
        seen.push(line);
    }
    seen.iter().filter(|line| line.contains(label)).cloned().collect()
}

fn events() -> &'static Mutex<mpsc::Receiver<String>> {
    static EVENTS: OnceLock<Mutex<mpsc::Receiver<String>>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || Writer(sender.clone())).init();
        Mutex::new(receiver)
    })
}

#[tokio::test]
async fn lines_become_events_with_the_workers_name() {
    events();
    let script = r"echo out; printf 'bad \377 byte\nhalf' >&2";
    let child = started(shell(script).label("models/w1.1")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Code(0));
    let tail = child.output_tail();
    assert_eq!(
        tail,
        ["bad \u{fffd} byte", "half"],
        "the end of the errors, with invalid bytes replaced and the half line"
    );
    let lines = logged("models/w1.1", "half");
    let line = |text: &str| lines.iter().find(|line| line.contains(text)).unwrap();
    assert!(line("bad \u{fffd} byte").contains("herder::worker"), "{lines:?}");
    assert!(line("half").contains(r#"stream="stderr""#), "{lines:?}");
    logged("models/w1.1", "out");
}

#[tokio::test]
async fn the_tail_is_of_the_output_when_there_are_no_errors() {
    let child = started(shell("echo one; echo two")).await.child;
    child.wait().await;
    assert_eq!(child.output_tail(), ["one", "two"]);
}

/// R40: print from Python, from C and from a child of the worker, none of it in a frame.
#[tokio::test]
async fn print_from_c_and_from_a_grandchild_goes_the_same_way() {
    let script = "
import ctypes; libc = ctypes.CDLL(None)
print('python', flush=True); libc.puts(b'c'); libc.fflush(None); subprocess.run(['echo', 'grandchild'])
";
    let spawned = started(python(script)).await;
    assert_eq!(spawned.child.wait().await, ExitStatus::Code(0));
    assert_eq!(spawned.child.output_tail(), ["python", "c", "grandchild"]);
    assert_eq!(io::Read::read(&mut &spawned.calls, &mut [0; 9]).unwrap(), 0, "nothing on the protocol's descriptor");
}

/// R40: nothing is lost in a burst that is far beyond what the pipe and the queue hold, and the tail is its end.
#[tokio::test]
async fn a_burst_is_logged_whole_and_the_tail_is_its_end() {
    events();
    let count = 60_000;
    let script = format!("for n in range({count}): print('line', n, '.' * 50)\nprint('the', 'end')");
    let child = started(python(&script).label("burst/w1.1")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Code(0));
    let tail = child.output_tail();
    assert_eq!((tail.len(), tail.last().map(String::as_str)), (40, Some("the end")));
    let lines = logged("burst/w1.1", "the end");
    assert_eq!(lines.len(), count + 1);
    let in_order = |n: usize| lines[n].contains(&format!("line {n} ..."));
    assert!((0..count).all(in_order));
}

#[tokio::test]
async fn a_subscriber_that_panics_does_not_silence_the_log() {
    events();
    let child = started(shell("echo before; echo panic please; echo after").label("loud/w1.1")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Code(0));
    logged("loud/w1.1", "after");
    assert!(PANICKED.load(Ordering::SeqCst));
}
