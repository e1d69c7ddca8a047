//! R40: each line that a worker prints becomes a log event with the worker's label, and the last lines are kept.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use herder_process::{ExitStatus, Signal, Spawned};
use std::{
    io::{self, Write},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};
use support::{line_reader, python, read_line, shell, start};

/// The writer panics once only: after a panic, the formatter keeps the line and writes it again with the next one.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// The writer of the process's only subscriber. It panics on a line that requests it.
struct Writer(mpsc::Sender<String>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let panics = text.contains("panic please") && !PANICKED.swap(true, Ordering::SeqCst);
        assert!(!panics, "requested panic of the subscriber");
        self.0.send(text).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until a line of the worker with this label and with `last` was logged, and returns all its lines logged so far.
#[expect(clippy::disallowed_methods, reason = "a time limit for a test that hangs")]
fn logged(label: &str, last: &str) -> Vec<String> {
    static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let (pool, worker) = label.split_once('/').unwrap();
    let label = &format!(r#"worker={worker} pool="{pool}""#);
    let is_last = |line: &String| line.contains(label) && line.contains(last);
    let mut logged = LOGGED.lock().unwrap();
    let events = events().lock().unwrap();
    let mut is_logged = logged.iter().any(is_last);
    while !is_logged {
        let line = events.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        is_logged = is_last(&line);
        logged.push(line);
    }
    logged.iter().filter(|line| line.contains(label)).cloned().collect()
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
    let child = start(shell(script).label("models/w1.1")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Code(0));
    let tail = child.output_tail();
    assert_eq!(
        tail,
        ["bad \u{fffd} byte", "half"],
        "the end of stderr, with invalid bytes replaced and the incomplete line"
    );
    let lines = logged("models/w1.1", "half");
    let line = |text: &str| lines.iter().find(|line| line.contains(text)).unwrap();
    assert!(line("bad \u{fffd} byte").contains("herder::worker"), "{lines:?}");
    assert!(line("half").contains(r#"stream="stderr""#), "{lines:?}");
    logged("models/w1.1", "out");
}

#[tokio::test]
async fn output_tail_is_stdout_if_stderr_is_empty() {
    let child = start(shell("echo one; echo two")).await.child;
    child.wait().await;
    assert_eq!(child.output_tail(), ["one", "two"]);
}

/// R40: output of Python, of C and of a child of the worker is captured, and none of it reaches the socket of the calls.
#[tokio::test]
async fn output_of_c_and_of_a_grandchild_is_captured() {
    let script = "
import ctypes; libc = ctypes.CDLL(None)
print('python', flush=True); libc.puts(b'c'); libc.fflush(None); subprocess.run(['echo', 'grandchild'])
";
    let spawned = start(python(script)).await;
    assert_eq!(spawned.child.wait().await, ExitStatus::Code(0));
    assert_eq!(spawned.child.output_tail(), ["python", "c", "grandchild"]);
    assert_eq!(io::Read::read(&mut &spawned.calls, &mut [0; 9]).unwrap(), 0, "nothing on the socket of the calls");
}

/// R40: a burst of output far beyond the capacity of the pipe and of the queue loses no line, and the tail is its end.
#[tokio::test]
async fn burst_is_logged_completely_and_tail_is_its_end() {
    events();
    let count = 60_000;
    let script = format!("for n in range({count}): print('line', n, '.' * 50)\nprint('the', 'end')");
    let child = start(python(&script).label("burst/w1.1")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Code(0));
    let tail = child.output_tail();
    assert_eq!((tail.len(), tail.last().map(String::as_str)), (40, Some("the end")));
    let lines = logged("burst/w1.1", "the end");
    assert_eq!(lines.len(), count + 1);
    let in_order = |n: usize| lines[n].contains(&format!("line {n} ..."));
    assert!((0..count).all(in_order));
}

#[tokio::test]
async fn log_continues_after_a_subscriber_panics() {
    events();
    let child = start(shell("echo before; echo panic please; echo after").label("loud/w1.1")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Code(0));
    logged("loud/w1.1", "after");
    assert!(PANICKED.load(Ordering::SeqCst));
}

/// Python code that sends a log record, whatever it is.
const SEND_RECORD: &str = "
import json
records = int(os.environ['HERDER_LOG_FD'])
def log(record): return os.write(records, record if isinstance(record, bytes) else json.dumps(record).encode())
";

/// R40: a log record becomes one event with its level and fields, also if it is sent directly before the exit.
#[tokio::test]
async fn a_log_record_becomes_one_event_with_level_and_fields() {
    events();
    let script = r"
log({'level': 'error', 'logger': 'shop.db', 'message': 'the order is lost', 'level_name': 'CRITICAL', 'attempt': 7,
     'session': 'ann', 'command': 'buy', 'fields': {'order': 5}, 'traceback': 'Traceback\nKeyError: 5'})
log({'level': 'warn', 'message': 'the last record'})
os._exit(3)
";
    let child = start(python(&format!("{SEND_RECORD}{script}")).label("records/w1.1")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Code(3));
    let lines = logged("records/w1.1", "the last record");
    let line = lines.iter().find(|line| line.contains("the order is lost")).unwrap();
    for part in [
        "ERROR herder::worker: the order is lost worker=w1.1 pool=\"records\"",
        r#"logger="shop.db""#,
        r#"level_name="CRITICAL""#,
        "attempt=7",
        r#"session="ann""#,
        r#"command="buy""#,
        r#"{\"order\":5}"#,
        r#"traceback="Traceback\nKeyError: 5""#,
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(lines.iter().any(|line| line.contains("WARN herder::worker: the last record")), "{lines:?}");
    assert_eq!(
        child.output_tail(),
        ["CRITICAL shop.db: the order is lost", "Traceback", "KeyError: 5", "WARNING log: the last record"],
        "the tail shows records as `logging` would print them"
    );
}

/// R40: whatever a worker sends as a record is one line of the log, and cannot control a terminal.
#[tokio::test]
async fn a_hostile_record_is_one_harmless_line() {
    events();
    let script = r#"
evil = 'x\n2026 ERROR herder: forged\x1b[2J\r\x9b\x7f\u2028'
log({'message': evil, 'logger': evil, 'session': evil, 'command': evil, 'traceback': evil, 'fields': {evil: [evil]}})
log(evil.encode()); log(b''); log(b'\xff' * 40000); log(b'{"message": "' + b'[' * 30000)
log({'message': 'after'})
"#;
    let child = start(python(&format!("{SEND_RECORD}{script}")).label("hostile/w1.1")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Code(0));
    let lines = logged("hostile/w1.1", "after");
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("malformed log record")).count(), 4, "{lines:?}");
    for line in &lines {
        assert!(line.len() < 16 * 1024 && line.ends_with('\n'), "{line}");
        assert!(!line.trim_end_matches('\n').contains(|char: char| char.is_control()), "{line:?}");
    }
}

/// R69: a worker that sends records faster than they are read drops them and counts them. Nothing blocks and the host reports
/// the number.
#[tokio::test]
async fn records_that_do_not_fit_are_counted_and_reported() {
    events();
    let script = r"
sent = dropped = 0
for n in range(30_000):
    record = {'message': 'flood', 'dropped': dropped}
    try: log(record)
    except BlockingIOError: dropped += 1
    else: sent, dropped = sent + 1, 0
while True:
    try: log({'message': f'the end {sent}', 'dropped': dropped})
    except BlockingIOError: continue
    break
";
    let child = start(python(&format!("{SEND_RECORD}{script}")).label("flood/w1.1")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Code(0));
    let lines = logged("flood/w1.1", "the end");
    let received = lines.iter().filter(|line| line.contains(": flood")).count();
    let number = |line: &String| line.split("dropped=").nth(1)?.trim().parse::<usize>().ok();
    let dropped: usize = lines.iter().filter_map(number).sum();
    assert_eq!(received + dropped, 30_000);
    assert!(lines.last().unwrap().contains(&format!("the end {received}")), "{:?}", lines.last());
}

/// The stacks of a worker that goes on are for who asked for them: they are neither in the log nor in the tail.
#[tokio::test]
async fn captured_stacks_are_not_logged() {
    events();
    let script = "
import faulthandler
faulthandler.register(signal.SIGUSR1, file=2)
send('registered')
calls.recv(1)
print('after', file=sys.stderr)";
    let Spawned { mut calls, child, .. } = start(python(script).label("models/w7.1")).await;
    assert_eq!(read_line(&mut line_reader(calls.try_clone().unwrap())), "registered");
    let capture = child.capture_stack(Signal::USR1);
    calls.write_all(b"x").unwrap(); // the worker reads it after the signal
    assert_eq!(child.wait().await, ExitStatus::Code(0));
    let lines = logged("models/w7.1", "after");
    assert_eq!((lines.len(), child.output_tail()), (1, vec!["after".to_owned()]), "{lines:?}");
    assert!(capture.finish().unwrap().contains("most recent call first"));
}
