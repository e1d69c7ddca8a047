//! Sends batches, and tells the core when they are due.

use super::{batched_commands::BatchedCommands, state::State};
use crate::{BatchSettings, Error, Result, recorder::Descriptor};
use herder_core::{BatchKey, BatchStatus, Dispatch, WorkerRef};
use herder_wire::{CommandEntry, check_call_size, encode_batch};
use std::{collections::BTreeMap, rc::Rc};
use tracing::Level;

impl State {
    /// Takes over what a worker that becomes ready states about its batches.
    pub(super) fn state_batches(&mut self, worker: WorkerRef, commands: &[CommandEntry]) {
        let max_frame = self.config.max_frame();
        let mut keys = Vec::new();
        for entry in commands {
            let Some(batch) = entry.batch else { continue };
            let configured = self.config.batches().get(&entry.name).copied().unwrap_or_default();
            let Some(key) = self.batches.state(&entry.name, batch, configured, max_frame) else { continue };
            self.apply_batch_limits(key);
            keys.push((entry.name.as_str(), key));
        }
        let stated: Vec<_> = keys.iter().map(|(_, key)| *key).collect();
        self.core.state_batches(worker, &stated);
        let table = self.commands.as_mut().and_then(Rc::get_mut);
        let rules = table.into_iter().flat_map(|table| table.iter_mut());
        for (name, rules) in rules {
            rules.batch = keys.iter().find(|(batched, _)| batched == name).map(|(_, key)| *key);
        }
        self.warn_of_unused_limits();
    }

    /// Logs, once, which commands in the configuration do not run in batches: their names may be misspelled.
    fn warn_of_unused_limits(&mut self) {
        let is_unknown = |name: &&String| self.batches.iter().all(|(_, known)| known != name.as_str());
        let unknown: Vec<_> = self.config.batches().keys().filter(is_unknown).cloned().collect();
        if unknown.is_empty() || std::mem::replace(&mut self.warned_of_limits, true) {
            return;
        }
        let (pool, commands) = (self.config.name().clone(), unknown.join(", "));
        self.call_log.events().queue(Level::WARN, move || {
            tracing::warn!(%pool, commands, "`batch` in the configuration names commands that the app does not declare with @app.batch");
        });
    }

    fn apply_batch_limits(&mut self, key: BatchKey) {
        let limits = self.batches.limits(key);
        self.with_core(|core, now, effects| core.set_batch(now, key, limits, effects));
    }

    /// Changes when the batches of a command are due. What `settings` leaves out stays as it is.
    ///
    /// # Errors
    /// [`Error::Config`] if a value is too large, [`Error::UnknownCommand`] if no worker has stated that the command runs in
    /// batches.
    pub(crate) fn set_batch(&mut self, command: &str, settings: BatchSettings) -> Result<BatchStatus> {
        settings.check()?;
        let Some(key) = self.batches.set(command, settings) else { return Err(no_batches(command, &self.batches)) };
        self.apply_batch_limits(key);
        Ok(self.core.batch_status(key).unwrap_or_default())
    }

    /// Returns what the batches of each command were like.
    pub(crate) fn batch_status(&self) -> BTreeMap<String, BatchStatus> {
        let status = |(key, name): (BatchKey, &str)| Some((name.to_owned(), self.core.batch_status(key)?));
        self.batches.iter().filter_map(status).collect()
    }

    /// Writes the calls of a batch into the outbox of their process, behind the frame that makes them a batch.
    pub(super) fn send_batch(&mut self, sends: Vec<Dispatch>) {
        // Known before the frame is written: it must not name a call that does not follow.
        let (sends, refused): (Vec<_>, Vec<_>) = sends.into_iter().partition(|send| self.can_write(send));
        if let (true, Some(first)) = (sends.len() > 1, sends.first())
            && let Some(link) = self.link(first.worker)
        {
            let tail = link.calls.tail();
            let begin = tail.len();
            // The limits of the batches follow from `max_frame`, so that it fits.
            if encode_batch(sends.iter().map(|send| send.wire), link.max_frame, tail).is_ok() {
                link.recorder.sent(Descriptor::Calls, &tail[begin..]);
            }
        }
        sends.into_iter().chain(refused).for_each(|send| self.send(send));
    }

    fn can_write(&mut self, send: &Dispatch) -> bool {
        let limits = self.link(send.worker).map(|link| (link.max_frame, link.accepts_buffers));
        let (Some((max_frame, accepts_buffers)), Some(call)) = (limits, self.calls.get(&send.call)) else {
            return false;
        };
        let session = call.session.as_ref().map_or(0, |session| session.as_str().len());
        let buffers = call.buffers.as_deref();
        let length = buffers.map_or(call.body.len(), |buffers| buffers.max_length(call.body.len()));
        check_call_size(&call.command, session, length, max_frame).is_ok()
            && call.headers_length() <= max_frame as usize
            && (accepts_buffers || buffers.is_none_or(|buffers| buffers.buffers.is_empty()))
    }
}

fn no_batches(command: &str, batches: &BatchedCommands) -> Error {
    let names: Vec<&str> = batches.iter().map(|(_, name)| name).collect();
    let hint = match names[..] {
        [] => "no command of this pool runs in batches (`@app.batch`)".into(),
        _ => format!("commands that run in batches: {}", names.join(", ")),
    };
    Error::UnknownCommand { command: command.into(), hint }
}
