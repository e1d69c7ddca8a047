//! Submits calls to the core, on the pool's thread.

use super::{Incoming, Replier, State, call::Call};
use crate::Error;
use herder_core::{CallId, Input, StreamLimits, Submission};
use herder_wire::check_call_size;

/// The longest names that are compared with an unknown one, and how many.
const MAX_COMPARED_BYTES: usize = 64;
const MAX_COMPARED_NAMES: usize = 256;

impl State {
    /// Submits a call. The caller gets a refusal the same way as any other answer.
    pub(crate) fn submit(&mut self, mut incoming: Incoming) {
        if let Some(refusal) = self.refusal(&incoming) {
            self.begin_step();
            let session = incoming.session.as_ref().map(|session| &session.id);
            let of = (&incoming.command, session);
            self.end_trace(incoming.trace.as_deref_mut(), incoming.id, of, Some(&refusal), None);
            let refusal = self.record_failure(incoming.identity(), refusal);
            return incoming.refuse(refusal);
        }
        let Incoming { id, command, session, body, deadline, idempotent, headers, trace, idle, buffers, reply, permit } =
            incoming;
        let rules = self.commands.as_ref().and_then(|table| table.get(&*command)).copied().unwrap_or_default();
        let idempotent = idempotent.unwrap_or(rules.idempotent);
        let name = session.as_ref().map(|session| session.id.clone());
        // Inserted before the core handles the submission: the core may dispatch the call in this step, which needs the
        // arguments.
        let fingerprint = self.watched_fingerprint(&command, &body, buffers.as_deref());
        let now = self.begin_step();
        // A timeout that ends later than the call's own deadline has no effect.
        let command_timeout = rules.timeout.filter(|&timeout| now + timeout < deadline);
        let deadline = command_timeout.map_or(deadline, |timeout| now + timeout);
        let stream = matches!(reply, Replier::Stream(_)).then_some(StreamLimits { idle });
        // A stream is a batch of its own: its items have their own answers.
        let batch = rules.batch.filter(|_| stream.is_none());
        let call = Call {
            command,
            number: rules.number,
            session: name,
            body,
            deadline,
            command_timeout,
            headers,
            trace,
            buffers,
            sent: None,
            sent_at: now,
            reply,
            permit,
        };
        self.calls.insert(id, call);
        let submission = Submission { call: id, session, deadline, idempotent, batch, fingerprint, stream };
        if let Some(dispatch) = self.core.submit(now, &submission, &mut self.effects) {
            self.send(dispatch);
        }
    }

    /// Cancels a call that its caller has abandoned.
    pub(crate) fn cancel(&mut self, id: CallId) {
        self.handle(Input::Cancel(id));
    }

    /// Passes on that the consumer of a stream has taken this many bytes of it.
    pub(crate) fn credit(&mut self, id: CallId, bytes: u32) {
        let Some((worker, wire)) = self.calls.get(&id).and_then(|call| call.sent) else { return };
        let now = self.begin_step();
        if let Some(link) = self.link(worker) {
            link.credit(now, wire, bytes);
        }
    }

    fn refusal(&self, incoming: &Incoming) -> Option<Error> {
        if let Some(error) = self.permanent_failure() {
            return Some(error);
        }
        self.unknown_command(incoming).or_else(|| self.too_large(incoming))
    }

    /// Returns an error for a call that does not fit into a frame. Checked before the call is admitted: no worker will
    /// receive it, so it must not count as an answer for the breaker, nor bind a session.
    fn too_large(&self, incoming: &Incoming) -> Option<Error> {
        let session = incoming.session.as_ref().map_or(0, |session| session.id.as_str().len());
        let max_frame = self.config().max_frame();
        let too_large = |message| Some(Error::TooLarge { message, may_have_run: false, worker: None });
        let length = incoming.body.len();
        let length = incoming.buffers.as_ref().map_or(length, |buffers| buffers.max_length(length));
        if let Err(error) = check_call_size(&incoming.command, session, length, max_frame) {
            return too_large(error.to_string());
        }
        let headers = incoming.headers_length();
        if headers > max_frame as usize {
            return too_large(format!(
                "the headers have {headers} bytes; the limit is {max_frame} bytes (`max_frame`)"
            ));
        }
        None
    }

    fn unknown_command(&self, incoming: &Incoming) -> Option<Error> {
        let table = self.commands.as_ref()?;
        if table.contains_key(&*incoming.command) {
            return None;
        }
        // In the order of the app, unlike those in the table.
        let described = self.command_descriptions();
        let names: Vec<&str> = described.iter().map(|command| command.name.as_str()).collect();
        let listed = names.join(", ");
        let hint = match similar(&incoming.command, &names) {
            Some(meant) => format!("did you mean `{meant}`? Available commands: {listed}"),
            None => format!("available commands: {listed}"),
        };
        Some(Error::UnknownCommand { command: incoming.command.to_string(), hint })
    }
}

/// Returns the command that was probably meant: the nearest one, if at most a third of its letters differ. The work is bounded,
/// since callers choose the text and this runs on the thread of the pool.
fn similar<'a>(given: &str, names: &[&'a str]) -> Option<&'a str> {
    if given.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let compared = names.iter().filter(|name| name.len() <= MAX_COMPARED_BYTES).take(MAX_COMPARED_NAMES);
    let near = compared.map(|name| (strsim::osa_distance(given, name), *name));
    near.filter(|(distance, name)| *distance <= usize::max(1, name.len() / 3)).min().map(|(_, name)| name)
}
