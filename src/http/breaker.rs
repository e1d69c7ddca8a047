//! The routes for the circuit breaker and the quarantine of a pool. Holds only handles of pools.

use super::{pools::Pools, refusal::Refusal};
use actix_web::{HttpResponse, web};
use herder_actors::{Fingerprint, InvalidFingerprint, Result};
use serde_json::json;

/// `GET /v1/pools/{pool}/breaker`. The value is null for a pool without a breaker.
pub(super) async fn breaker(name: web::Path<String>, pools: web::Data<Pools>) -> Result<HttpResponse> {
    let breaker = pools.find(&name)?.breaker().await?;
    Ok(HttpResponse::Ok().json(json!({ "breaker": breaker })))
}

/// `POST /v1/pools/{pool}/breaker/reset`. The value is false for a pool without a breaker.
pub(super) async fn reset(name: web::Path<String>, pools: web::Data<Pools>) -> Result<HttpResponse> {
    let reset = pools.find(&name)?.reset_breaker().await?;
    Ok(HttpResponse::Ok().json(json!({ "reset": reset })))
}

/// `GET /v1/pools/{pool}/quarantine`.
pub(super) async fn quarantine(name: web::Path<String>, pools: web::Data<Pools>) -> Result<HttpResponse> {
    let watched = pools.find(&name)?.quarantine().await?;
    Ok(HttpResponse::Ok().json(json!({ "quarantine": watched })))
}

/// `DELETE /v1/pools/{pool}/quarantine/{fingerprint}`.
pub(super) async fn release(
    path: web::Path<(String, String)>,
    pools: web::Data<Pools>,
) -> std::result::Result<HttpResponse, actix_web::Error> {
    let (name, fingerprint) = path.into_inner();
    let pool = pools.find(&name)?;
    let invalid = |error: InvalidFingerprint| Refusal::NotQuarantined { message: error.to_string() };
    let fingerprint: Fingerprint = fingerprint.parse().map_err(invalid)?;
    if pool.release_payload(fingerprint).await? {
        return Ok(HttpResponse::NoContent().finish());
    }
    let message = format!("no call with the fingerprint `{fingerprint}` is quarantined or suspected");
    Err(Refusal::NotQuarantined { message }.into())
}
