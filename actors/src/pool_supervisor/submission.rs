//! What the supervisor shares with the pool's handles on other threads, and the messages that they send to it. Holds the gate,
//! the numbers of calls and the call log.

use crate::{
    Error, PoolConfig, Result,
    call_log::CallLog,
    clock::Clock,
    gate::{Gate, Permit},
    shared_state::Incoming,
};
use actix::Message;
use herder_core::CallId;
use herder_process::ProcessMark;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The state that handles and the supervisor share.
#[derive(Debug)]
pub(crate) struct Shared {
    calls: AtomicU64,
    gate: Arc<Gate>,
    queue_limit: usize,
    timeout: Duration,
    stream_window: u32,
    clock: Clock,
    call_log: Arc<CallLog>,
    /// The process in which the pool runs.
    process: ProcessMark,
}

impl Shared {
    pub(crate) fn new(config: &PoolConfig, clock: Clock) -> Self {
        let settings = config.settings();
        // Not the windows: a call in advance is a waiting call, so the queue's limit includes it.
        let places = (settings.pool_size + settings.overflow) as usize * settings.places() as usize;
        Self {
            calls: AtomicU64::new(0),
            gate: Gate::new(settings.queue.limit + places),
            queue_limit: settings.queue.limit,
            timeout: config.timeout(),
            stream_window: config.stream_window(),
            clock,
            call_log: Arc::new(CallLog::new(config.name().clone())),
            process: ProcessMark::here(),
        }
    }

    pub(crate) fn next_call(&self) -> CallId {
        CallId(self.calls.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Returns whether this is the process in which the pool runs, and not a forked copy of it.
    pub(crate) fn is_here(&self) -> bool {
        self.process.is_here()
    }

    /// Takes a place at the gate for one call.
    ///
    /// # Errors
    /// [`Error::QueueFull`] if there is none.
    pub(crate) fn enter(&self) -> Result<Permit> {
        self.gate.enter().ok_or(Error::QueueFull { limit: self.queue_limit })
    }

    /// Returns the window of a stream, in bytes.
    pub(crate) fn stream_window(&self) -> u32 {
        self.stream_window
    }

    /// Returns the deadline of a call that sets none.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn call_log(&self) -> &Arc<CallLog> {
        &self.call_log
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// Submits a call from a handle.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Submit(pub(crate) Incoming);

/// Cancels a call that its caller has abandoned.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Cancel(pub(crate) CallId);

/// The consumer of a stream has taken this many bytes of it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Credit(pub(crate) CallId, pub(crate) u32);

/// A handle suppressed a failure in the log for the first time in this window.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FailuresSuppressed;
