//! The two tasks beside a supervisor: the pool's one timer, and the one that calls the supervisor when something was posted. They
//! hold no address of it, since a strong one would keep the pool alive for ever.

use super::{PoolSupervisor, attend::Attend};
use crate::cell::{Cell, step};
use actix::WeakAddr;
use actix_rt::task::JoinHandle;
use herder_core::Input;

/// Both tasks; they end with their owner.
pub(super) struct Tasks([JoinHandle<()>; 2]);

impl Tasks {
    pub(super) fn start(cell: &Cell, supervisor: WeakAddr<PoolSupervisor>) -> Self {
        Self([actix_rt::spawn(timer(cell.clone())), actix_rt::spawn(attendant(cell.clone(), supervisor))])
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Steps the pool when something is due. A step that makes something due earlier moves it.
async fn timer(cell: Cell) {
    let (rearm, mut alarm) = (cell.borrow().rearm(), cell.borrow().clock().timer());
    loop {
        let next = cell.borrow_mut().arm();
        tokio::select! {
            () = alarm.wait_until(next) => step(&cell, Input::Tick),
            () = rearm.notified() => {}
        }
    }
}

async fn attendant(cell: Cell, supervisor: WeakAddr<PoolSupervisor>) {
    let wake = cell.borrow().wake();
    loop {
        wake.notified().await;
        let Some(supervisor) = supervisor.upgrade() else { return };
        supervisor.do_send(Attend);
    }
}
