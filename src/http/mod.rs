//! HTTP for pools: routes to mount in any actix-web app, everything that `herder serve` serves, and the [`Server`] that it uses. Holds handles on
//! pools, and connections while they are open; the state of pools is in the pools.
//!
//! | method and path | answer |
//! |---|---|
//! | `POST /v1/pools/{pool}/call/{command}` | `{"result": .., "meta": {"worker", "generation", "routing", "why"?, "attempts", "queue_us", "run_us"}}` |
//! | `GET /v1/pools` | `{"pools": [..], "buffered_bytes", "buffer_limit", "dropped_log_lines"}`: name, type and health of each; [`Api::buffer_limit`], [`Api::dropped_log_lines`] |
//! | `GET /v1/pools/{pool}` | the pool's [`Status`](crate::Status) |
//! | `GET /v1/pools/{pool}/workers` | `{"workers": [..]}` |
//! | `GET /v1/pools/{pool}/workers/{id}/recorder?generation=` | its [`Recording`](crate::Recording): of the present process, or the last, unless a generation is named |
//! | `GET /v1/pools/{pool}/sessions?cursor=&limit=` | `{"sessions": [..], "next", "active_sessions"}`; `next` is the next page's `cursor`, or null; `limit` is 100 unless given, 1000 at most |
//! | `GET`, `DELETE /v1/pools/{pool}/sessions/{id}` | the session; nothing (204) |
//! | `GET /v1/pools/{pool}/sessions/{id}/why` | its [`SessionHistory`](crate::SessionHistory) |
//! | `GET /v1/pools/{pool}/breaker` | `{"breaker": ..}`: its [`BreakerStatus`](crate::BreakerStatus), or null |
//! | `POST /v1/pools/{pool}/breaker/reset` | `{"reset": true}`; false in a pool without one |
//! | `GET /v1/pools/{pool}/quarantine` | `{"quarantine": [..]}`: each payload that ended workers ([`QuarantineEntry`](crate::QuarantineEntry)) |
//! | `DELETE /v1/pools/{pool}/quarantine/{fingerprint}` | nothing (204): it is let go |
//! | `GET /healthz`, `GET /readyz` ([`Api`] only) | 200; 200 once each pool has a ready worker, 503 before |
//!
//! A call's body is a JSON object, whatever its `Content-Type`; no body is `{}`. Its headers: `Herder-Session`, `Herder-Timeout`
//! (`250ms`, `30s`), `Herder-Idempotent` (`true`, `false`), `Herder-If-Absent` (`create`, `reject`) and `Herder-Affinity`
//! (`strict_queue`, `hint`, `strict_fail_fast`). Every error is `application/problem+json`, in full or in brief ([`Api::errors`]). What
//! [`Error`](crate::Error) shows in handlers of your own is decided by [`set_error_detail`].
//!
//! A call's deadline counts from the head of its request. A call whose body arrives too slowly is refused with 408 ([`Api::body_timeout`]), a call for whose
//! body there is no room with 503 ([`Api::buffer_limit`]). In handlers of your own, [`Caller`] completes a future when the client closes its connection.
//!
//! What a page of another site sends is refused (403): a foreign `Origin`, and any `Sec-Fetch-Site` but `same-origin` and `none`.

mod api;
mod backlog;
mod body;
mod breaker;
mod buffers;
mod call;
mod caller;
mod connections;
mod envelope;
mod guard;
mod headers;
mod hosts;
mod pools;
mod probes;
mod receive;
mod refusal;
#[cfg(test)]
mod served_tests;
mod server;
mod sessions;
mod surrogates;
#[cfg(test)]
mod tests;
mod unread;

pub use api::{Api, routes};
pub(crate) use buffers::Buffers;
pub use caller::Caller;
pub use connections::Connections;
pub use herder_actors::set_error_detail;
pub use refusal::Refusal;
pub use server::Server;
