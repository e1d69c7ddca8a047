//! The supervisor's handlers for the breaker and the quarantine (R34, R37). Calls do not use them: the core takes the
//! breaker's permit in the step that admits a call.

use super::PoolSupervisor;
use crate::{GetBreaker, GetQuarantine, RecordOutcome, ReleasePayload, ResetBreaker, Result};
use actix::Handler;
use herder_core::{BreakerStatus, QuarantineEntry};

impl Handler<GetBreaker> for PoolSupervisor {
    type Result = Result<Option<BreakerStatus>>;

    fn handle(&mut self, _: GetBreaker, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.with_core(|core, now, _| core.breaker(now))))
    }
}

impl Handler<ResetBreaker> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, _: ResetBreaker, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.with_core(|core, _, _| core.reset_breaker())))
    }
}

impl Handler<RecordOutcome> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, RecordOutcome(outcome): RecordOutcome, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.with_core(|core, now, _| core.record_outcome(now, outcome))))
    }
}

impl Handler<GetQuarantine> for PoolSupervisor {
    type Result = Result<Vec<QuarantineEntry>>;

    fn handle(&mut self, _: GetQuarantine, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.with_core(|core, now, _| core.quarantine_entries(now))))
    }
}

impl Handler<ReleasePayload> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, ReleasePayload(fingerprint): ReleasePayload, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.with_core(|core, _, _| core.release_payload(fingerprint))))
    }
}
