//! Which workers have a ping to answer, for tests that move a clock. Exists only with the feature `testing`.

use super::PoolSupervisor;
use crate::{Result, testing::Pinged};
use actix::Handler;

impl Handler<Pinged> for PoolSupervisor {
    type Result = Result<usize>;

    fn handle(&mut self, _: Pinged, _: &mut Self::Context) -> Self::Result {
        let launcher = self.launcher.clone();
        self.active(|active| {
            let state = active.cell.borrow();
            Ok(state.core().pinged().filter(|at| launcher.answers(*at)).count())
        })
    }
}
