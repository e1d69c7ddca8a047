//! Counts the workers that have a ping to answer, for tests that move a clock. Exists only with the feature `testing`.

use super::PoolSupervisor;
use crate::{Result, clock::UnansweredPings};
use actix::Handler;

impl Handler<UnansweredPings> for PoolSupervisor {
    type Result = Result<usize>;

    fn handle(&mut self, _: UnansweredPings, _: &mut Self::Context) -> Self::Result {
        let launcher = self.launcher.clone();
        self.active(|active| {
            let state = active.shared_state.borrow();
            Ok(state.core().pinged().filter(|worker| launcher.answers_pings(*worker)).count())
        })
    }
}
