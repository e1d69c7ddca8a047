//! Ctrl-C and SIGTERM: the first asks for an end in order, one that comes more than a second later for an end now. SIGHUP: does nothing in a server
//! without a terminal.

use crate::{
    error::{CommandError, Outcome},
    logs,
};
use herder::config::duration;
use std::{fs::File, time::Duration};
use tokio::{
    signal::unix::{self, SignalKind},
    time::{Instant, timeout_at},
};

/// Signals that follow the first one so soon are the same stop: `timeout` and some supervisors signal the process and then its group, and a shell
/// and a supervisor may both pass on a Ctrl-C.
const SAME_STOP: Duration = Duration::from_secs(1);

/// The signals that end a server. Those that come while nobody waits are kept.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    /// `None`: it keeps its disposition.
    hangup: Option<unix::Signal>,
}

/// Which came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndSignal {
    Interrupt,
    Terminate,
}

impl Signals {
    pub(crate) fn new() -> Outcome<Self> {
        let listen = |kind| unix::signal(kind).map_err(CommandError::failed);
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup: None })
    }

    /// Creates the signals of a server. Without a controlling terminal, SIGHUP is logged and ignored: service managers send it to make daemons reload their
    /// configuration. With a terminal, SIGHUP keeps its disposition: it means that the terminal was closed, and ends the server like any other program,
    /// unless `nohup` made it ignored.
    pub(crate) fn of_a_server() -> Outcome<Self> {
        let has_terminal = File::open("/dev/tty").is_ok();
        let hangup = (!has_terminal).then(|| unix::signal(SignalKind::hangup())).transpose();
        Ok(Self { hangup: hangup.map_err(CommandError::failed)?, ..Self::new()? })
    }

    /// The next one that ends the server.
    pub(crate) async fn next(&mut self) -> EndSignal {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return EndSignal::Interrupt,
                _ = self.terminate.recv() => return EndSignal::Terminate,
                () = received(&mut self.hangup) => {
                    tracing::warn!("SIGHUP ignored: the configuration cannot be reloaded yet; restart the server to change it");
                }
            }
        }
    }

    /// Waits for the next signal that is not part of the same stop.
    #[expect(clippy::disallowed_methods, reason = "signals within a second of the first are the same stop")]
    pub(crate) async fn again(&mut self) -> EndSignal {
        let same_until = Instant::now() + SAME_STOP;
        while let Ok(same) = timeout_at(same_until, self.next()).await {
            tracing::info!("{} within a second of the first signal: ignored as part of the same stop", same.name());
        }
        self.next().await
    }
}

/// Ends when it was received: never, where nobody listens.
async fn received(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

impl EndSignal {
    /// Says what happens now.
    pub(crate) fn print_notice(self, within: Duration) {
        let signal = self.name();
        let within = duration::show(within);
        tracing::info!(
            "{signal}: requests and calls may finish within {within}; another signal after a second or more stops at once"
        );
    }

    /// Ends the process, with the exit code shells know a signal by. The watchdog kills what is left of the workers.
    pub(crate) fn exit_now(self) -> ! {
        tracing::warn!("{}: stopped at once", self.name());
        logs::finish();
        std::process::exit(self.exit_code().into())
    }

    /// The exit code shells know it by.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    /// As `kill -l` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}
