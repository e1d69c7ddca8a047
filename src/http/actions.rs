//! Notes what administrators do, in the events of the pool and in the log.

use super::roles::{Role, Tokens};
use crate::Pool;
use actix_web::{HttpRequest, web};

/// Notes an action that has happened. `text` says what was asked for, such as `end session ann`.
pub(super) async fn note(request: &HttpRequest, pool: &Pool, text: &str) {
    note_as(role(request), pool, text).await;
}

/// Like [`note`], for a task that may outlive the request.
pub(super) async fn note_as(role: &'static str, pool: &Pool, text: &str) {
    if let Ok(feed) = pool.events().await {
        feed.note_action(role, None, text);
    }
}

/// Returns the name of the sender's role.
pub(super) fn role(request: &HttpRequest) -> &'static str {
    let tokens = request.app_data::<web::Data<Tokens>>();
    tokens.and_then(|tokens| tokens.role(request.headers()).ok()).map_or("none", Role::name)
}
