//! What follows a panic inside a step, or inside the supervisor: every pending call is answered, every worker's group is
//! killed, and the state is built anew from names and numbers. Beyond an intensity the pool stays down.

use super::state::{Post, State};
use crate::{Error, clock};
use herder_core::{Core, Effects, Input, Salvage};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// More rebuilds than this within [`WINDOW`] are a bug that rebuilding does not cure.
const LIMIT: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

impl State {
    pub(crate) fn rebuild(&mut self, reason: &str) {
        let now = clock::now();
        for (_, call) in self.calls.drain() {
            call.answer(Err(Error::Internal { reason: reason.into() }));
        }
        for link in self.links.iter_mut() {
            if let Some(link) = link.take() {
                link.child.kill();
            }
        }
        let salvage = catch_unwind(AssertUnwindSafe(|| self.core.salvage())).unwrap_or_else(|_| Salvage::default());
        let settings = self.config.settings();
        self.core = Core::resume(settings, now.0, now, salvage);
        self.effects = Effects::new();
        self.arrival = None;
        self.posted.retain(|post| matches!(post, Post::Note(_) | Post::Gone(_)));
        self.post(Post::Rebuilt(reason.into()));
        self.rebuilds.retain(|at| now.since(*at) < WINDOW);
        self.rebuilds.push_back(now);
        if self.rebuilds.len() > LIMIT {
            self.broken = Some(format!("{reason} (the {LIMIT} restarts allowed in a minute are used up)").into());
            self.handle(Input::Shutdown { until: now });
        } else {
            self.handle(Input::Tick);
        }
        self.carry_out();
    }
}
