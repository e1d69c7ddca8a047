//! Serves one process until it is gone: read, write, control, side by side, in one task on the pool's arbiter.

use super::{control, guard::Guard, reader::Reader, writer};
use crate::{
    cell::{Cell, Link, Outbox, step, with},
    error::Obituary,
    launcher::Launched,
};
use herder_core::{Doom, End, Input, WorkerRef};
use herder_wire::{Codecs, HostHello, HostMessage};
use std::{num::NonZeroU32, rc::Rc};
use tokio::net::UnixStream;
use tokio::sync::Notify;

pub(super) async fn serve(cell: Cell, at: WorkerRef, launched: Launched) {
    let Launched { calls, control, child } = launched;
    let guard = Guard::new(cell.clone(), at, child.clone());
    let (Ok(calls), Ok(control)) = (UnixStream::from_std(calls), UnixStream::from_std(control)) else {
        return; // out of descriptors: the guard ends the process
    };
    let wakes = Wakes { calls: Rc::default(), control: Rc::default() };
    let max_frame = cell.borrow().config().max_frame();
    cell.borrow_mut().connect(Link {
        at,
        child: child.clone(),
        calls: Outbox::default(),
        control: Outbox::default(),
        flush: wakes.calls.clone(),
        flush_control: wakes.control.clone(),
        msgpack: false,
        has_control: false,
        max_frame,
    });
    greet(&cell, at);
    let mut reader = Reader::new(cell.clone(), at, max_frame);
    let status = tokio::select! {
        biased;
        () = reader.run(&calls) => unreachable_end(&child).await,
        () = writer::run(&cell, at, &calls, &wakes.calls, |link| &mut link.calls) => unreachable_end(&child).await,
        () = control::run(&cell, at, &control, max_frame) => unreachable_end(&child).await,
        () = writer::run(&cell, at, &control, &wakes.control, |link| &mut link.control) => unreachable_end(&child).await,
        status = child.wait() => status,
    };
    reader.drain(&calls);
    let (detail, traceback) = reader.last_words();
    let obituary = Obituary { detail, traceback, stderr_tail: child.output_tail() };
    guard.disarm();
    with(&cell, |state| state.exited(at, End { status, doom: None }, obituary));
}

struct Wakes {
    calls: Rc<Notify>,
    control: Rc<Notify>,
}

/// The loops end only by waiting for ever; should one return, the process's end is still awaited.
async fn unreachable_end(child: &Rc<dyn crate::child::ChildHandle>) -> herder_core::ExitStatus {
    child.wait().await
}

/// The host's hello is the first frame.
fn greet(cell: &Cell, at: WorkerRef) {
    let mut state = cell.borrow_mut();
    let settings = state.core().settings();
    let (concurrency, pipeline) = (at_least_one(settings.concurrency), at_least_one(settings.pipeline));
    let hello = HostHello {
        pool: state.config().name().clone(),
        worker: at.worker,
        generation: at.generation,
        concurrency,
        pipeline,
        max_frame: at_least_one(state.config().max_frame()),
        codecs: Codecs { msgpack: true },
        session_state: state.session_state(),
    };
    if let Some(link) = state.link(at) {
        link.tell_in_order(&HostMessage::Hello(hello));
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// The process broke the protocol: it is killed, and its calls hear of it when it is gone.
pub(super) fn protocol_fault(cell: &Cell, at: WorkerRef) {
    step(cell, Input::Kill { at, doom: Doom::Protocol });
}
