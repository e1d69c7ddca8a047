//! The routes for sessions: list, query, history and end.

use super::{actions, pools::Pools, refusal::Refusal};
use crate::Pool;
use actix_web::{HttpRequest, HttpResponse, Result, web};
use herder_actors::{Error, SessionId, SessionPage};
use serde::Deserialize;

/// The largest allowed `limit` of a page.
const LIMIT_MAX: usize = 1000;

/// How many parts of the sessions a request with `search` looks through, of 4096 sessions each. The client continues at `next`.
const MAX_SCANS: usize = 32;

/// The query of a page.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PageQuery {
    cursor: usize,
    limit: usize,
    /// Only sessions whose id contains this text.
    search: String,
}

impl Default for PageQuery {
    fn default() -> Self {
        Self { cursor: 0, limit: 100, search: String::new() }
    }
}

impl PageQuery {
    fn parse(query: &str) -> Result<Self, Refusal> {
        let wrong = |message: String| Refusal::BadQuery { query: query.into(), message };
        let page = web::Query::<Self>::from_query(query);
        let page =
            page.map_err(|error| wrong(format!("{error}; allowed: cursor=N, limit=N, search=TEXT")))?.into_inner();
        match page.limit {
            1..=LIMIT_MAX => Ok(page),
            limit => Err(wrong(format!("`limit` is {limit}; allowed: 1 to {LIMIT_MAX}"))),
        }
    }
}

/// `GET /v1/pools/{pool}/sessions`.
pub(super) async fn list(
    request: HttpRequest,
    pool: web::Path<String>,
    pools: web::Data<Pools>,
) -> Result<HttpResponse> {
    let pool = pools.find(&pool)?;
    Ok(HttpResponse::Ok().json(page(pool, PageQuery::parse(request.query_string())?).await?))
}

/// Returns a page. A search looks through further sessions until the page is full, within bounds.
async fn page(pool: &Pool, query: PageQuery) -> Result<SessionPage, Error> {
    let PageQuery { cursor, limit, search } = query;
    let mut page = pool.search_sessions(&search, cursor, limit).await?;
    for _ in 1..MAX_SCANS {
        let Some(cursor) = page.next.filter(|_| !search.is_empty() && page.sessions.len() < limit) else { break };
        let more = pool.search_sessions(&search, cursor, limit - page.sessions.len()).await?;
        page.sessions.extend(more.sessions);
        page.next = more.next;
    }
    Ok(page)
}

/// `GET /v1/pools/{pool}/sessions/{id}`.
pub(super) async fn one(path: web::Path<(String, String)>, pools: web::Data<Pools>) -> Result<HttpResponse, Error> {
    let (pool, id) = path.into_inner();
    let (pool, id) = (pools.find(&pool)?, session_id(&id)?);
    match pool.session(id.as_str()).await? {
        Some(session) => Ok(HttpResponse::Ok().json(session)),
        None => Err(Error::SessionNotFound { session: id }),
    }
}

/// `GET /v1/pools/{pool}/sessions/{id}/why`. Also answers for a session that never existed.
pub(super) async fn why(path: web::Path<(String, String)>, pools: web::Data<Pools>) -> Result<HttpResponse, Error> {
    let (pool, id) = path.into_inner();
    Ok(HttpResponse::Ok().json(pools.find(&pool)?.why(&id).await?))
}

/// `DELETE /v1/pools/{pool}/sessions/{id}`. The session ends after its pending calls.
pub(super) async fn end(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    pools: web::Data<Pools>,
) -> Result<HttpResponse, Error> {
    let (pool, id) = path.into_inner();
    let (pool, id) = (pools.find(&pool)?, session_id(&id)?);
    match pool.end_session(id.as_str()).await? {
        true => {
            actions::note(&request, pool, &format!("end session {id}")).await;
            Ok(HttpResponse::NoContent().finish())
        }
        false => Err(Error::SessionNotFound { session: id }),
    }
}

fn session_id(text: &str) -> Result<SessionId, Error> {
    Ok(SessionId::new(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_bounds_and_defaults() {
        let parse = |query| PageQuery::parse(query).map_err(|refusal| refusal.to_string());
        assert_eq!(parse(""), Ok(PageQuery { cursor: 0, limit: 100, search: String::new() }));
        assert_eq!(parse("limit=1000&cursor=7"), Ok(PageQuery { cursor: 7, limit: 1000, search: String::new() }));
        for (query, expected) in [
            ("limit=1001", "invalid query `limit=1001`: `limit` is 1001; allowed: 1 to 1000"),
            ("limit=0", "invalid query `limit=0`: `limit` is 0; allowed: 1 to 1000"),
        ] {
            assert_eq!(parse(query), Err(expected.into()));
        }
        for query in ["cursor=-1", "limit=x", "offset=2"] {
            assert!(parse(query).unwrap_err().ends_with("; allowed: cursor=N, limit=N, search=TEXT"), "{query}");
        }
    }
}
