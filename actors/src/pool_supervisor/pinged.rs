//! Counts the workers that have a ping to answer, for tests that move a clock. Exists only with the feature `testing`.

use super::PoolSupervisor;
use crate::clock::UnansweredPings;
use actix::Handler;

impl Handler<UnansweredPings> for PoolSupervisor {
    type Result = usize;

    fn handle(&mut self, _: UnansweredPings, _: &mut Self::Context) -> Self::Result {
        let launcher = self.launcher.clone();
        let count = self.active(|active| {
            let state = active.shared_state.borrow();
            Ok(state.core().pinged().filter(|worker| launcher.answers_pings(*worker)).count())
        });
        count.unwrap_or(0)
    }
}
