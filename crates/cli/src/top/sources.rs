//! What the screen shows and what the user does, each from a thread of its own, as messages of one channel. The threads end with
//! the process.

use super::{
    events,
    model::Process,
    snapshot::{Snapshot, one_line},
};
use crate::{
    client::{Client, path},
    error::{CommandError, EndSignal, Outcome},
    kill, recorder,
};
use ratatui_crossterm::crossterm::event::{self, Event, KeyEvent};
use std::{io, sync::mpsc::Sender, thread, time::Duration};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

/// The time that a request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The time after which the events are read by another request.
const STREAM: Duration = Duration::from_secs(60);
/// The time between two attempts to read the events.
const RETRY: Duration = Duration::from_secs(2);

/// Something new.
#[derive(Debug)]
pub(super) enum Update {
    Snapshot(Snapshot),
    /// Why a request failed.
    Problem(String),
    /// The events can be read.
    Connected,
    Event(String),
    /// Why there are no events.
    NoEvents(String),
    /// The recorder of a worker, as text.
    Recorder(String),
    /// What has become of a kill.
    Killed(String),
    Key(KeyEvent),
    Resized,
    /// A signal asks the process to stop.
    Stop(EndSignal),
    /// SIGTSTP was sent to this process.
    Suspend,
}

/// Starts all threads.
pub(super) fn start(client: &Client, interval: Duration, signals: Signals, updates: &Sender<Update>) -> Outcome {
    let (limited, endless) = (client.clone().limited(LIMIT), client.clone());
    run("herder-poll", updates, move |updates| poll(&limited, interval, updates))?;
    run("herder-events", updates, move |updates| follow(&endless, updates))?;
    run("herder-keys", updates, read_keys)?;
    run("herder-signals", updates, |updates| signals.pass_on(updates))
}

/// Asks for the recorder of a worker.
pub(super) fn ask_recorder(client: &Client, pool: String, worker: String, updates: &Sender<Update>) -> Outcome {
    let client = client.clone().limited(LIMIT);
    run("herder-recorder", updates, move |updates| {
        let text = match client.json(&path(&[&pool, "workers", &worker, "recorder"])) {
            Ok(recording) => recorder::render(&pool, &recording),
            Err(error) => format!("worker {worker} of pool `{pool}`: {}", error.into_text()),
        };
        _ = updates.send(Update::Recorder(text));
    })
}

/// Kills a process. Without a limit: the answer comes when it has exited.
pub(super) fn kill_process(client: &Client, process: Process, updates: &Sender<Update>) -> Outcome {
    let client = client.clone();
    run("herder-kill", updates, move |updates| {
        let Process { pool, worker, generation } = process;
        let text = match kill::kill(&client, &pool, &worker, generation) {
            Ok(()) => format!("killed worker {worker} (generation {generation}) of {pool}"),
            Err(error) => format!("worker {worker} of {pool} was not killed: {}", error.into_text()),
        };
        _ = updates.send(Update::Killed(one_line(&text)));
    })
}

/// Starts a thread. It ends when the receiver is gone, at the latest with the process.
fn run(name: &str, updates: &Sender<Update>, body: impl FnOnce(&Sender<Update>) + Send + 'static) -> Outcome {
    let updates = updates.clone();
    thread::Builder::new().name(name.into()).spawn(move || body(&updates)).map(drop).map_err(CommandError::failed)
}

#[expect(clippy::disallowed_methods, reason = "the interval is what the user asked for")]
fn poll(client: &Client, interval: Duration, updates: &Sender<Update>) {
    loop {
        thread::sleep(interval);
        let update = match Snapshot::ask(client) {
            Ok(snapshot) => Update::Snapshot(snapshot),
            Err(error) => Update::Problem(error.into_text()),
        };
        if updates.send(update).is_err() {
            return;
        }
    }
}

/// Reads the events, and connects again when they end. A stream has a limited time: the end of a machine or of a network closes no
/// connection, so that nothing would ever arrive again.
#[expect(clippy::disallowed_methods, reason = "a server that was stopped is not asked all the time")]
fn follow(client: &Client, updates: &Sender<Update>) {
    let mut last: Option<String> = None;
    loop {
        match client.get_events("/v1/events", last.as_deref(), LIMIT, STREAM) {
            Ok(stream) => {
                if updates.send(Update::Connected).is_err() {
                    return;
                }
                for event in events::read(stream) {
                    last = event.id.or(last);
                    if updates.send(Update::Event(event.text)).is_err() {
                        return;
                    }
                }
            }
            Err(error) => _ = updates.send(Update::NoEvents(error.into_text())),
        }
        thread::sleep(RETRY);
    }
}

fn read_keys(updates: &Sender<Update>) {
    loop {
        let update = match event::read() {
            Ok(Event::Key(key)) => Update::Key(key),
            Ok(Event::Resize(..)) => Update::Resized,
            Ok(_) => continue,
            // The terminal is gone.
            Err(_) => Update::Stop(EndSignal::Hangup),
        };
        let ends = matches!(update, Update::Stop(_));
        if updates.send(update).is_err() || ends {
            return;
        }
    }
}

/// The signals that would end or stop the process, handled so that the terminal is restored first.
pub(super) struct Signals {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    suspend: Signal,
}

impl Signals {
    /// Handles the signals from now on. This comes before the terminal is taken: a signal in between would leave it in raw mode.
    pub(super) fn register() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        let hangup = signal(SignalKind::hangup())?;
        let quit = signal(SignalKind::quit())?;
        let suspend = signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?;
        drop(entered);
        Ok(Self { runtime, interrupt, terminate, hangup, quit, suspend })
    }

    /// Passes them on until the receiver is gone.
    fn pass_on(mut self, updates: &Sender<Update>) {
        self.runtime.block_on(async {
            loop {
                let update = tokio::select! {
                    _ = self.interrupt.recv() => Update::Stop(EndSignal::Interrupt),
                    _ = self.terminate.recv() => Update::Stop(EndSignal::Terminate),
                    _ = self.hangup.recv() => Update::Stop(EndSignal::Hangup),
                    _ = self.quit.recv() => Update::Stop(EndSignal::Quit),
                    _ = self.suspend.recv() => Update::Suspend,
                };
                if updates.send(update).is_err() {
                    return;
                }
            }
        });
    }
}
