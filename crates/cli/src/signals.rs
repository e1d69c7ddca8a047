//! Ctrl-C and SIGTERM: the first asks for an end in order, the second for an end now.

use crate::{
    failure::{Failure, Outcome},
    logs,
};
use herder::config::duration;
use std::time::Duration;
use tokio::signal::unix::{self, SignalKind};

/// The signals that end a server. Those that come while nobody waits are kept.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

/// Which came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Interrupt,
    Terminate,
}

impl Signals {
    pub(crate) fn new() -> Outcome<Self> {
        let listen = |kind| unix::signal(kind).map_err(Failure::failed);
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Ended {
        tokio::select! {
            _ = self.interrupt.recv() => Ended::Interrupt,
            _ = self.terminate.recv() => Ended::Terminate,
        }
    }
}

impl Ended {
    /// Says what happens now.
    pub(crate) fn announce(self, within: Duration) {
        let signal = self.name();
        let within = duration::show(within);
        tracing::info!("{signal}: requests and calls may finish within {within}; a second signal stops now");
    }

    /// Ends the process, with the exit code shells know a signal by. The watchdog kills what is left of the workers.
    pub(crate) fn exit_now(self) -> ! {
        tracing::warn!("{}: stopped now", self.name());
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
