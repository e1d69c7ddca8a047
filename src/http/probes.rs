//! `/healthz` and `/readyz`, the probes for orchestrators, and `/v1/whoami`. The probes need no token. A request without the
//! token of administrators gets only numbers, since error texts can contain secrets.

use super::{guard::Trusted, pools::Pools, refusal::Refusal, roles::Tokens, session_sources::SessionSources};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, Result, web};
use herder_actors::PoolHealth;
use serde_json::{Map, Value, json};

/// `GET /healthz`: 200 as long as the server answers, whatever the state of its pools.
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok", "herder": env!("CARGO_PKG_VERSION") }))
}

/// `GET /readyz`: 200 if each pool has a ready worker or is idle, otherwise 503. The reasons include the errors of workers
/// only if the request has the token of administrators. On a server without a token they never do; `GET /v1/pools` shows them.
pub(super) async fn readyz(request: HttpRequest, pools: web::Data<Pools>) -> Result<HttpResponse> {
    let trusted = request.extensions().contains::<Trusted>();
    let (mut healths, mut reasons) = (Vec::new(), Vec::new());
    for pool in &pools.0 {
        let name = pool.name().to_string();
        match pool.health().await {
            Ok(mut health) => {
                health.last_start_error.take_if(|_| !trusted);
                reasons.extend((!health.healthy).then(|| reason(&name, &health)));
                healths.push((name, Some(health)));
            }
            Err(error) => {
                reasons.push(if trusted {
                    format!("pool `{name}`: {error}")
                } else {
                    format!("pool `{name}`: no answer")
                });
                healths.push((name, None));
            }
        }
    }
    if !reasons.is_empty() {
        return Err(Refusal::NotReady { reason: reasons.join("; "), pools: healths }.into());
    }
    let pools: Map<String, Value> =
        healths.into_iter().map(|(name, health)| (name, serde_json::to_value(health).unwrap_or_default())).collect();
    Ok(HttpResponse::Ok().json(json!({ "status": "ready", "pools": pools })))
}

/// `GET /v1/whoami`: the role of the sender, whether the server requires a token, and the header that names a session.
pub(super) async fn whoami(
    request: HttpRequest,
    tokens: web::Data<Tokens>,
    sessions: web::Data<SessionSources>,
) -> Result<HttpResponse> {
    let (role, token, session_header) =
        (tokens.role(request.headers())?, tokens.are_required(), sessions.first_header());
    Ok(HttpResponse::Ok().json(json!({ "role": role, "token": token, "session_header": session_header })))
}

fn reason(name: &str, health: &PoolHealth) -> String {
    let PoolHealth { ready_workers, pool_size, last_start_error, .. } = health;
    let why = last_start_error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    format!("pool `{name}`: {ready_workers} of {pool_size} workers ready{why}")
}
