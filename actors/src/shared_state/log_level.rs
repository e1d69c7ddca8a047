//! The level of the log records that the workers of the pool send.

use super::{Link, State, link::WorkerLogLevel};
use crate::launcher::worker_log_level;
use herder_wire::{HostMessage, LogLevel};
use tracing::level_filters::LevelFilter;

impl State {
    /// Sets the level for all workers of the pool, also for those that start later. `None`: that of the application's subscriber.
    pub(crate) fn set_worker_log_level(&mut self, level: Option<LevelFilter>) {
        let is_same = self.log_level.is_changed && level.is_some() && self.log_level.level == level;
        self.log_level = WorkerLogLevel { level, is_changed: true };
        if is_same {
            return; // all workers have it
        }
        let level = in_protocol(worker_log_level(&self.config, level));
        self.links.iter_mut().flatten().for_each(|link| link.send_log_level(level));
    }

    /// Returns the level for a worker that has just sent its hello. `None`: it has the right one since its start. A worker that was
    /// being started when the level changed has the one before.
    pub(crate) fn changed_log_level(&self) -> Option<LogLevel> {
        let WorkerLogLevel { level, is_changed } = self.log_level;
        is_changed.then(|| in_protocol(worker_log_level(&self.config, level)))
    }
}

impl Link {
    /// Changes the level of the worker's log records, if it can.
    pub(crate) fn send_log_level(&mut self, level: LogLevel) {
        if self.accepts_log_level {
            self.send_control(&HostMessage::LogLevel(level));
        }
    }
}

fn in_protocol(level: LevelFilter) -> LogLevel {
    match level {
        LevelFilter::OFF => LogLevel::Off,
        LevelFilter::ERROR => LogLevel::Error,
        LevelFilter::WARN => LogLevel::Warn,
        LevelFilter::INFO => LogLevel::Info,
        LevelFilter::DEBUG => LogLevel::Debug,
        LevelFilter::TRACE => LogLevel::Trace,
    }
}
