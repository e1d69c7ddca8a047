//! The reloads of one pool, and what is said about them: when the new workers are ready, why they are not, and which call of an
//! old worker a reload waits for. Ends such a call after some seconds.

use crate::{
    console::{Style, printable, traceback},
    logs,
};
use herder::{
    Error, Pool,
    status::{RunningCall, WorkerRef, WorkerState},
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    convert::Infallible,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How often a pool is asked whether something has to be said.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a newer save waits for an old worker before that is said.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits before the calls of the old worker are ended.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// The reloads of a pool.
#[derive(Clone)]
pub(super) struct Reloads {
    pool: Pool,
    /// Held while a debugger in a worker has the terminal.
    input: Arc<Mutex<()>>,
    /// The old workers for which a newer save waits.
    waits: Rc<RefCell<BTreeMap<WorkerRef, Wait>>>,
    /// The number of starts and reloads that have not ended. Each reports its own failure.
    pending: Rc<Cell<usize>>,
    /// Whether it was said that the pool has no worker.
    said_none_left: Rc<Cell<bool>>,
}

/// A wait for the calls of an old worker.
#[derive(Clone, Copy)]
struct Wait {
    since: Stopwatch,
    is_said: bool,
}

impl Reloads {
    /// Reports the first start of the pool, and from then on whether it has no worker left.
    pub(super) fn start(pool: Pool, input: Arc<Mutex<()>>) -> Self {
        let reloads =
            Self { pool, input, waits: Rc::default(), pending: Rc::new(Cell::new(1)), said_none_left: Rc::default() };
        actix_rt::spawn(reloads.clone().first_start());
        actix_rt::spawn(reloads.clone().watch());
        reloads
    }

    /// Begins to replace the workers. A reload that has not ended is superseded.
    pub(super) fn begin(&self) {
        self.pending.set(self.pending.get() + 1);
        actix_rt::spawn(self.clone().reload());
    }

    async fn first_start(self) {
        let begun = Stopwatch::start();
        match self.pool.ready().await {
            Ok(()) => self.print_ready("ready", begun, 0).await,
            Err(error) => self.print_failed(&error).await,
        }
        self.pending.set(self.pending.get() - 1);
    }

    async fn reload(self) {
        let begun = Stopwatch::start();
        let ended = tokio::select! {
            ended = self.pool.reload() => ended,
            never = self.end_old_calls() => match never {},
        };
        match ended {
            Ok(report) => self.print_ready("reloaded", begun, report.sessions).await,
            Err(Error::Cancelled { .. } | Error::PoolClosed { .. }) => {}
            Err(error) => self.print_failed(&error).await,
        }
        self.pending.set(self.pending.get() - 1);
    }

    /// Says which calls of old workers the reload waits for, and ends them if it takes too long.
    #[expect(clippy::disallowed_methods, reason = "polls, the pool has no event for it")]
    async fn end_old_calls(&self) -> Infallible {
        loop {
            actix_rt::time::sleep(INTERVAL).await;
            let calls = self.pool.running_calls().await.unwrap_or_default();
            let old: Vec<_> = calls.into_iter().filter(|call| call.state == WorkerState::Terminating).collect();
            self.waits.borrow_mut().retain(|process, _| old.iter().any(|call| call.process() == *process));
            for call in first_of_each(&old) {
                self.wait_for(call, old.iter().filter(|other| other.process() == call.process()).count()).await;
            }
        }
    }

    /// Says that the reload waits for this call, the oldest of its worker's `count` calls, or ends it.
    async fn wait_for(&self, call: &RunningCall, count: usize) {
        let process = call.process();
        let wait = *self.waits.borrow_mut().entry(process).or_insert_with(Wait::new);
        let waited = wait.since.elapsed();
        // A person is busy in it. The keys of the host need the lock only for moments.
        let is_debugged = self.input.try_lock().is_err();
        if waited >= LONGEST_WAIT && !is_debugged {
            let ended = described(call, count);
            _ = self.pool.kill_worker(process).await;
            logs::write_line(
                &Style::of_stderr().yellow(&format!("{} ended {ended}: it held up the newer code", self.pool.name())),
            );
        } else if waited >= PATIENCE && !wait.is_said {
            let then = match is_debugged {
                true => "leave the debugger with `c` or `q`".to_owned(),
                false => format!("it is ended in {} s", (LONGEST_WAIT - PATIENCE).as_secs()),
            };
            let text = format!("{} waits for {}; {then}", self.pool.name(), described(call, count));
            logs::write_line(&Style::of_stderr().yellow(&text));
            self.waits.borrow_mut().insert(process, Wait { is_said: true, ..wait });
        }
    }

    /// Says when no worker is left outside of starts and reloads, which say that themselves.
    #[expect(clippy::disallowed_methods, reason = "polls, the pool has no event for it")]
    async fn watch(self) {
        while let Ok(health) = self.pool.health().await {
            if health.ready_workers > 0 {
                self.said_none_left.set(false);
            } else if let Some(reason) = &health.last_start_error
                && self.pending.get() == 0
                && !self.said_none_left.replace(true)
            {
                let reason = printable(reason);
                let text = format!("{}: no worker is running: {reason}; save a file to try again", self.pool.name());
                logs::write_line(&Style::of_stderr().yellow(&text));
            }
            actix_rt::time::sleep(INTERVAL).await;
        }
    }

    /// Prints that the workers are ready, with their commands.
    async fn print_ready(&self, done: &str, begun: Stopwatch, sessions: u32) {
        let took = begun.elapsed().as_millis();
        let lost = match sessions {
            0 => String::new(),
            1 => "; 1 session ended by the reload".to_owned(),
            many => format!("; {many} sessions ended by the reload"),
        };
        let described = self.pool.commands().await;
        let described = described.iter().flat_map(|commands| commands.iter());
        let commands: Vec<String> = described.map(|command| printable(&command.name).into_owned()).collect();
        let commands = format!("; commands: {}", commands.join(", "));
        let (style, name) = (Style::of_stderr(), self.pool.name());
        logs::write_line(&format!("{} {name} in {took} ms{lost}{}", style.green(done), style.dim(&commands)));
    }

    /// Prints why a worker could not start, and whether the old worker keeps serving.
    async fn print_failed(&self, error: &Error) {
        let style = Style::of_stderr();
        let report = error.report();
        let traceback = report.and_then(|report| report.traceback.as_deref()).unwrap_or_default();
        if traceback.is_empty() {
            logs::write_line(&style.red(&printable(&error.to_string())));
            let output = report.iter().flat_map(|report| &report.stderr_tail);
            output.for_each(|line| logs::write_line(&format!("  {line}")));
        } else {
            logs::write_line(traceback::show(&printable(traceback), style).trim_end());
        }
        let serves = self.pool.health().await.is_ok_and(|health| health.ready_workers > 0);
        self.said_none_left.set(!serves);
        let state =
            if serves { "not reloaded: the old worker keeps serving" } else { "not started: no worker is running" };
        logs::write_line(&style.yellow(&format!("{} {state}; save a file to try again", self.pool.name())));
    }
}

impl Wait {
    fn new() -> Self {
        Self { since: Stopwatch::start(), is_said: false }
    }
}

/// Returns the first call of each process.
fn first_of_each(calls: &[RunningCall]) -> impl Iterator<Item = &RunningCall> {
    let is_first =
        |(place, call): &(usize, &RunningCall)| calls[..*place].iter().all(|one| one.process() != call.process());
    calls.iter().enumerate().filter(is_first).map(|(_, call)| call)
}

/// Returns the text for the calls that an old worker runs.
fn described(call: &RunningCall, count: usize) -> String {
    let command = match &call.command {
        Some(command) => format!("`{}`", printable(command)),
        None => "a call that has its answer".to_owned(),
    };
    let others = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    format!("{command}{others} in the old worker {}, for {:.1} s so far", call.process().id, call.age.as_secs_f64())
}

/// The time since something began, which is printed.
#[derive(Clone, Copy)]
struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a person is told how long a reload took, or waits")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
