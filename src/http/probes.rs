//! `/healthz` and `/readyz`: what orchestrators ask. Need no token. A request that does not show the server's token gets numbers alone,
//! since texts of errors can hold secrets.

use super::{guard::Trusted, pools::Pools, refusal::Refusal};
use crate::PoolHealth;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, Result, web};
use serde_json::{Map, Value, json};

/// `GET /healthz`: the server answers, whatever its pools do.
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok", "herder": env!("CARGO_PKG_VERSION") }))
}

/// `GET /readyz`: 200 once each pool has a ready worker; 503 before, and whenever that is no longer so. The reason is given if the request
/// shows the server's token; on a server that has no token it never is, and `GET /v1/pools` has it.
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

fn reason(name: &str, health: &PoolHealth) -> String {
    let PoolHealth { ready_workers, wanted_workers, last_start_error, .. } = health;
    let why = last_start_error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    format!("pool `{name}`: {ready_workers} of {wanted_workers} workers ready{why}")
}
