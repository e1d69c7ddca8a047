//! HTTP for pools: routes for any actix-web app, the complete API of `herder serve`, and the [`Server`] that it uses.
//! Holds handles of pools, and the open connections; all state of pools is in the pools.
//!
//! ```
//! use actix_web::{App, test, web};
//! use herder::{Pool, Result, http};
//! use serde_json::{Value, json};
//! # use herder::testing::{Script, scripted};
//!
//! /// A handler of the application. An error of the call is its response.
//! async fn price(pool: web::Data<Pool>, item: web::Path<String>) -> Result<web::Json<u32>> {
//!     pool.call("price", &json!({ "item": *item })).await.map(web::Json)
//! }
//!
//! # #[actix_web::main]
//! # async fn main() {
//! # let script = Script::new().command("price", async |_| Ok(json!(120)));
//! # let scripted = scripted("prices", script, |context| context.basic().app("prices.py:app").build()).await;
//! # let pool: Pool = (*scripted).clone();
//! let app = App::new()
//!     .app_data(web::Data::new(pool.clone()))
//!     .route("/price/{item}", web::get().to(price))
//!     .service(web::scope("/herder").configure(http::routes(&pool))); // the routes below
//! # let app = test::init_service(app).await;
//! # let answer: u32 = test::call_and_read_body_json(&app, test::TestRequest::get().uri("/price/tea").to_request()).await;
//! # assert_eq!(answer, 120);
//! # let path = format!("/herder/v1/pools/{}", pool.name());
//! # let status: Value = test::call_and_read_body_json(&app, test::TestRequest::get().uri(&path).to_request()).await;
//! # assert_eq!(status["counters"]["ok"], 1);
//! # drop((app, pool));
//! # scripted.shutdown_and_check().await;
//! # }
//! ```
//!
//! | method and path | answer |
//! |---|---|
//! | `POST /v1/pools/{pool}/call/{command}` | `{"result": .., "meta": {"worker", "generation", "routing", "why", "attempts", "queue_us", "run_us"}}`; `why` only if `routing` is `rebound` |
//! | `GET /v1/pools` | `{"pools": [..], "buffered_bytes", "buffer_limit", "dropped_log_lines"}`: name, type and health of each pool; [`Api::buffer_limit`], [`Api::dropped_log_lines`] |
//! | `GET /v1/pools/{pool}` | the pool's [`Status`](crate::status::Status) |
//! | `GET /v1/pools/{pool}/commands` | `{"pool", "commands": [..]}`: the [`CommandDescription`](crate::status::CommandDescription) of each command |
//! | `PATCH /v1/pools/{pool}/commands/{command}?max_batch_size=&max_wait=` | `{"command", "batch": ..}`: changes the maximum size and wait of the batches of a command; `batch` is the [`BatchStatus`](crate::status::BatchStatus) |
//! | `GET /v1/pools/{pool}/workers` | `{"workers": [..]}` |
//! | `GET /v1/pools/{pool}/workers/{id}/recorder?generation=` | the worker's [`Recording`](crate::recorder::Recording); without `generation`, that of the current process, or of the last one if there is none |
//! | `GET /v1/pools/{pool}/workers/{id}/stack` | the stacks of the threads of a Python worker, as text ([`WorkerStack`](crate::status::WorkerStack)) |
//! | `POST /v1/pools/{pool}/workers/{id}/kill?generation=` | `{"killed": true, "worker", "generation"}`, when the process has exited; 409 if it is not the present one of its slot |
//! | `GET /v1/pools/{pool}/timeline?since=` | the [`Timeline`](crate::status::Timeline): what the workers ran within the last minute |
//! | `GET /v1/events?after=` ([`Api`] only) | a stream of server-sent events, each a [`PoolEvent`](crate::status::PoolEvent) of one of the pools |
//! | `GET /v1/pools/{pool}/sessions?cursor=&limit=&search=` | `{"sessions": [..], "next", "active_sessions"}`; `next` is the `cursor` of the next page, or null; `limit` is at most 1000, default 100 |
//! | `GET`, `DELETE /v1/pools/{pool}/sessions/{id}` | the session; no content (204) |
//! | `GET /v1/pools/{pool}/sessions/{id}/why` | the session's [`SessionHistory`](crate::session::SessionHistory) |
//! | `GET /v1/pools/{pool}/breaker` | `{"breaker": ..}`: the [`BreakerStatus`](crate::breaker::BreakerStatus), or null |
//! | `POST /v1/pools/{pool}/breaker/reset` | `{"reset": true}`; false in a pool without a breaker |
//! | `GET`, `PUT /v1/pools/{pool}/log-level` | with [`Api::log_levels`]: `{"pool", "level"}`; the level of the pool's events in the application's log, or null; PUT has the body `{"level": ..}` |
//! | `GET /v1/pools/{pool}/quarantine` | `{"quarantine": [..]}`: the commands with arguments that killed workers ([`QuarantineEntry`](crate::quarantine::QuarantineEntry)) |
//! | `DELETE /v1/pools/{pool}/quarantine/{fingerprint}` | no content (204); the call is released from quarantine |
//! | `POST`, `DELETE /v1/pools/{pool}/mcp`; `POST`, `DELETE /mcp` ([`Api`] only) | with the feature `mcp` and `Api::mcp`: the commands as tools of the Model Context Protocol |
//! | `GET /healthz`, `GET /readyz` ([`Api`] only) | 200; 200 if each pool has a ready worker or is idle, otherwise 503 |
//! | `GET /metrics` ([`Api`] only) | the metrics of the pools as Prometheus or OpenMetrics text; [`Api::metrics`] |
//! | `GET /v1/whoami` ([`Api`] only) | `{"role": "call" or "admin", "token", "session_header"}`: what the sender may do ([`Api::token`], [`Api::call_token`]), whether a token is required, and the header that names a session |
//! | `GET /openapi.json`; `GET /v1/pools/openapi.json` where only the routes of pools are mounted | the OpenAPI 3.1 document of the pools; [`Api::docs`] |
//! | `GET /`, `GET /ui/{file}` ([`Api`] only) | the live page and its files; [`Api::page`] |
//! | `GET /docs`, `GET /docs/page.css`, `GET /docs/page.js` ([`Api`] only) | a page that shows the commands and calls them, and its files |
//!
//! The body of a call with `Content-Type: multipart/form-data` is a form, whose files are buffers. Any other body is a JSON
//! object, whatever its `Content-Type`; an empty body stands for `{}`. With `Accept`, a result can be a single buffer or
//! `multipart/mixed`. A call has these headers: `Herder-Session` (or others, and a cookie: [`Api::session_headers`],
//! [`Api::session_cookie`]), `Herder-Timeout` (`250ms`, `30s`), `Herder-Idle-Timeout` (of a stream), `Herder-Idempotent`
//! (`true`, `false`), `Herder-If-Absent` (`create`, `reject`) and `Herder-Affinity` (`strict_queue`, `hint`, `strict_fail_fast`). Every
//! error is `application/problem+json`, in full or in brief ([`Api::errors`]). [`set_error_detail`] sets the detail of
//! [`Error`](crate::Error) in other handlers of the application.
//!
//! With `Accept: text/event-stream` or `application/x-ndjson`, the response to a call is a stream of the items that its
//! handler yields. As server-sent events, each item is a `data:` event, and the last event is `event: end` or
//! `event: error`. Otherwise each item is a line of JSON; after an error, the last line is `{"error": ..}`, and the body is
//! incomplete. Items are written as fast as the client reads.
//!
//! The deadline of a call counts from the head of its request. A call whose body arrives too slowly is refused with 408
//! ([`Api::body_timeout`]), and a call without buffer space for its body with 503 ([`Api::buffer_limit`]). Other
//! handlers of the application can wait for their client to disconnect with [`Caller`].
//!
//! Requests from pages of other sites are refused (403): those with a foreign `Origin`, and those with a
//! `Sec-Fetch-Site` other than `same-origin` and `none`.

mod access_log;
mod actions;
mod alarm;
mod api;
mod backlog;
mod binary;
mod body_check;
mod body_reader;
mod call;
mod call_error;
mod call_header;
mod call_route;
mod caller;
mod connections;
mod docs;
mod envelope;
mod form;
mod guard;
mod headers;
mod hosts;
mod log_levels;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
mod openapi;
mod page;
mod page_file;
mod pools;
mod probes;
mod query;
mod refusal;
mod roles;
mod routes;
#[cfg(test)]
mod served_tests;
mod server;
mod session_sources;
mod sessions;
mod streams;
mod surrogates;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unique_keys_tests;
mod unread;
mod watch;
mod workers;

pub use access_log::access_log_emitted;
pub use api::{Api, routes};
pub use caller::Caller;
pub use connections::Connections;
pub use herder_actors::set_error_detail;
pub use log_levels::LogLevels;
pub use refusal::Refusal;
pub use server::{LocalServer, LocalServerHandle, Server};
