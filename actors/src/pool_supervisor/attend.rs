//! Carries out what steps posted: starts, ends, notes for the log.

use super::{Active, Mode, PoolSupervisor};
use crate::{
    Launched, ShutdownReport, WorkerActor,
    cell::{Post, with},
    clock,
    error::Obituary,
};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use herder_core::{Doom, End, ExitStatus, Note, WorkerRef};
use std::time::Duration;

/// Something was posted.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Attend;

impl Handler<Attend> for PoolSupervisor {
    type Result = ();

    fn handle(&mut self, _: Attend, ctx: &mut Self::Context) {
        let Mode::Active(active) = &mut self.mode else { return };
        let posted = active.cell.borrow_mut().take_posted();
        for post in posted {
            self.attend(post, ctx);
        }
    }
}

impl PoolSupervisor {
    fn attend(&mut self, post: Post, ctx: &mut Context<Self>) {
        let pool = self.config.name().clone();
        let launcher = self.launcher.clone();
        let Mode::Active(active) = &mut self.mode else { return };
        match post {
            Post::Start(at) => {
                let launching = launcher.launch(at).into_actor(self);
                ctx.spawn(launching.map(move |launched, supervisor, _| supervisor.launched(at, launched)));
            }
            Post::Gone(at) => active.gone(at),
            Post::Orphan(at, child) => {
                let cell = active.cell.clone();
                actix_rt::spawn(async move {
                    let status = child.wait().await;
                    let obituary = Obituary { stderr_tail: child.output_tail(), ..Obituary::default() };
                    with(&cell, |state| state.exited(at, End { status, doom: Some(Doom::ActorPanicked) }, obituary));
                });
            }
            Post::Readiness => active.waiters.check_ready(&active.cell.borrow()),
            Post::AffinityGone => active.affinity.restart(&active.cell),
            Post::Rebuilt(reason) => {
                tracing::error!(%pool, %reason, "the pool's state was built anew: calls were answered, workers start anew");
                active.workers.clear();
                active.waiters.all_gone();
                active.waiters.check_ready(&active.cell.borrow());
            }
            Post::Note(note) => log(pool.as_str(), note, active),
            Post::Stopped => {
                active.stopped(&pool);
                ctx.stop();
            }
        }
    }

    /// A start came to something: an actor takes charge of the process, or the core hears that there is none.
    fn launched(&mut self, at: WorkerRef, launched: Result<Launched, String>) {
        let Mode::Active(active) = &mut self.mode else { return };
        match launched {
            Ok(launched) if active.cell.borrow().core().is_starting(at) => {
                let actor = WorkerActor::new(active.cell.clone(), at, launched).start();
                active.workers.insert(at.worker, (at, actor));
            }
            Ok(launched) => {
                launched.child.kill(); // the pool was told to stop it, or was built anew, while it was spawned
                active.not_started(at, "stopped while it was starting");
            }
            Err(reason) => active.not_started(at, &reason),
        }
    }
}

impl Active {
    fn not_started(&self, at: WorkerRef, reason: &str) {
        let obituary = Obituary { detail: Some(reason.into()), ..Obituary::default() };
        with(&self.cell, |state| state.exited(at, End { status: ExitStatus::Unknown, doom: None }, obituary));
    }

    fn gone(&mut self, at: WorkerRef) {
        if self.workers.get(&at.worker).is_some_and(|(who, _)| *who == at) {
            self.workers.remove(&at.worker);
        }
        self.waiters.gone(at);
    }

    fn stopped(&mut self, pool: &herder_core::PoolName) {
        let state = self.cell.borrow();
        let counters = state.core().status(clock::now()).counters;
        let took = state.stopping_since().map_or(Duration::ZERO, |since| clock::now().since(since));
        let cut_off = state.cut_off(&counters);
        let report = ShutdownReport { pool: pool.clone(), took, counters, cut_off };
        tracing::info!("{report}");
        self.waiters.all_stopped(&report);
        self.waiters.all_gone();
        self.waiters.check_ready(&state);
    }
}

fn log(pool: &str, note: Note, active: &Active) {
    let detail = |at: WorkerRef, end: &End| {
        let state = active.cell.borrow();
        let obituary = state.obituary(at).cloned().unwrap_or_default();
        (crate::error::loss_reason(end, Some(&obituary)), obituary.stderr_tail.join("\n"))
    };
    match note {
        Note::Died(at, end) => {
            let (reason, stderr) = detail(at, &end);
            tracing::warn!(pool, worker = %at, %reason, stderr, "worker lost");
        }
        Note::StartFailed(at, end) => {
            let (reason, stderr) = detail(at, &end);
            tracing::error!(pool, worker = %at, %reason, stderr, "worker could not be started");
        }
        Note::PingMissed(at, misses) => tracing::warn!(pool, worker = %at, misses, "worker missed a ping"),
        Note::Failed(retry_at) => {
            let retry_in = retry_at.since(clock::now());
            tracing::error!(pool, ?retry_in, "pool failed: too many restarts");
        }
        Note::Recovered => tracing::info!(pool, "pool recovered"),
        Note::LateAnswer(at, wire) => tracing::debug!(pool, worker = %at, %wire, "late answer dropped"),
        Note::UnknownAnswer(at, wire) => tracing::warn!(pool, worker = %at, %wire, "answer to an unknown call dropped"),
    }
}
