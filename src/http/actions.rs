//! Notes what administrators do, in the events of the pool and in the log.

use super::roles::{Role, Tokens};
use crate::Pool;
use actix_web::{HttpRequest, web};
use herder_actors::WorkerRef;

/// Notes an action. `text` says what was asked for, such as `kill worker w1.2`.
pub(super) async fn note(request: &HttpRequest, pool: &Pool, worker: Option<WorkerRef>, text: &str) {
    let tokens = request.app_data::<web::Data<Tokens>>();
    let role = tokens.and_then(|tokens| tokens.role(request.headers()).ok()).map_or("none", Role::name);
    if let Ok(feed) = pool.events().await {
        feed.note_action(role, worker, text);
    }
}
