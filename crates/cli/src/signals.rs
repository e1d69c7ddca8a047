//! The signals that stop a command. The first Ctrl-C or SIGTERM requests a graceful stop; another one, more than a
//! second later, an immediate stop. SIGHUP has no effect on a server without a terminal.

use crate::{
    error::{CommandError, EndSignal, Outcome},
    logs::{self, PROGRAM},
};
use herder::config::duration;
use std::{fs::File, time::Duration};
use tokio::{
    signal::unix::{self, SignalKind},
    time::{Instant, timeout_at},
};

/// Signals that follow the first one within this time belong to the same stop: `timeout` and some supervisors signal
/// the process and then its process group, and a shell and a supervisor can both forward a Ctrl-C.
const SAME_STOP: Duration = Duration::from_secs(1);

/// The signals that stop a server. A signal that arrives while no task waits is kept.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    /// `None` if SIGHUP keeps its disposition.
    hangup: Option<unix::Signal>,
}

impl Signals {
    pub(crate) fn new() -> Outcome<Self> {
        let listen = |kind| unix::signal(kind).map_err(CommandError::failed);
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup: None })
    }

    /// Creates the signals of a server.
    ///
    /// Without a controlling terminal, SIGHUP is logged and ignored, because service managers send it to make daemons
    /// reload their configuration. With a terminal, SIGHUP keeps its disposition: it means that the terminal was
    /// closed, and ends the server like any other program, unless `nohup` made it ignored.
    pub(crate) fn of_a_server() -> Outcome<Self> {
        // Opens the controlling terminal, and fails if the process has none, whatever its standard streams are.
        let has_terminal = File::open("/dev/tty").is_ok();
        let hangup = (!has_terminal).then(|| unix::signal(SignalKind::hangup())).transpose();
        Ok(Self { hangup: hangup.map_err(CommandError::failed)?, ..Self::new()? })
    }

    /// Waits for the next signal that stops the server.
    pub(crate) async fn next(&mut self) -> EndSignal {
        loop {
            // `recv` is cancel safe: dropping this future in a `select!` of the caller loses no signal.
            tokio::select! {
                _ = self.interrupt.recv() => return EndSignal::Interrupt,
                _ = self.terminate.recv() => return EndSignal::Terminate,
                () = received(&mut self.hangup) => {
                    tracing::warn!(target: PROGRAM, "SIGHUP ignored: the configuration cannot be reloaded yet; restart the server to change it");
                }
            }
        }
    }

    /// Waits for the next signal that is not part of the same stop.
    #[expect(clippy::disallowed_methods, reason = "signals within a second of the first are the same stop")]
    pub(crate) async fn next_stop(&mut self) -> EndSignal {
        let same_until = Instant::now() + SAME_STOP;
        while let Ok(same) = timeout_at(same_until, self.next()).await {
            tracing::info!(target: PROGRAM, "{} within a second of the first signal: ignored as part of the same stop", same.name());
        }
        self.next().await
    }
}

/// Waits until the signal is received; forever if there is no handler for it.
async fn received(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

impl EndSignal {
    /// Logs what the signal causes.
    pub(crate) fn print_notice(self, timeout: Duration) {
        let signal = self.name();
        let timeout = duration::show(timeout);
        tracing::info!(
            target: PROGRAM,
            "{signal}: requests and calls may finish within {timeout}; another signal after a second or more stops immediately"
        );
    }

    /// Ends the process with the exit code of the signal. The watchdog kills the remaining workers.
    pub(crate) fn exit_now(self) -> ! {
        tracing::warn!(target: PROGRAM, "{}: stopped immediately", self.name());
        logs::finish();
        std::process::exit(self.exit_code().into())
    }
}
