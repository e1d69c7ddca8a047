//! Which workers have a ping to answer, for tests that move a clock. Exists only with the feature `testing`.

use super::PoolSupervisor;
use crate::{Result, WorkerRef, testing::Pinged};
use actix::Handler;

impl Handler<Pinged> for PoolSupervisor {
    type Result = Result<Vec<WorkerRef>>;

    fn handle(&mut self, _: Pinged, _: &mut Self::Context) -> Self::Result {
        self.active(|active| Ok(active.cell.borrow().core().pinged().collect()))
    }
}
