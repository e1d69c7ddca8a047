//! Pools of Python worker processes for Rust services, supervised by actix actors. A session stays with the worker that
//! holds its state. When a worker process dies, the calls that ran on it fail, all other calls are unaffected, and the
//! pool replaces the worker.
//!
//! ```no_run
//! use herder::{Pool, PoolConfig};
//! use serde_json::json;
//!
//! # async fn example() -> herder::Result<()> {
//! let pool = Pool::start(PoolConfig::enhanced("carts").app("carts.py:app").pool_size(4).build()?).await?;
//! let items: Vec<String> = pool.call("add", &json!({ "item": "tea" })).session("ann").await?;
//! # Ok(()) }
//! ```
//!
//! Most users take the handle [`Pool`], whose methods return the types of the modules below. [`PoolSupervisor`] accepts
//! the same operations as [`messages`].
//!
//! | module | contents |
//! |---|---|
//! | [`pool`] | starting a pool, replies and their times |
//! | [`config`] | the settings of a pool, and the configuration file |
//! | [`messages`] | the messages of actix applications |
//! | [`error`] | what an [`Error`] says about the call, and what to do next |
//! | [`status`] | workers, queues, counters and commands |
//! | [`session`] | affinity, routing, and the history of a session |
//! | [`breaker`], [`quarantine`] | the circuit breaker; calls that killed their workers |
//! | [`recorder`] | the last frames, transitions and output of a worker process |
//! | [`efficiency`] | how well a pool uses its workers |
//! | [`traces`] | the trace that a call belongs to; the export of spans |
//! | [`process`] | signals, limits and orphans of the host process |
//! | [`registry`] | names of actors |
//!
//! Features:
//! - `http` adds a pool's routes to any actix-web app and contains a server for them; [`Error`] implements
//!   `ResponseError`.
//! - `otlp` exports the traces of calls to an OpenTelemetry collector ([`traces`]).
//! - `mcp` makes the commands tools of the Model Context Protocol (`http::Api::mcp`).
//! - `testing` helps to test pools and the services that use them.
//! - `chaos` injects faults into a pool and reports the results.
//!
//! All guarantees are in `docs/semantics.md`.

#[cfg(feature = "http")]
mod body_buffers;
pub mod breaker;
#[cfg(feature = "chaos")]
pub mod chaos;
pub mod config;
pub mod efficiency;
pub mod error;
#[cfg(feature = "http")]
pub mod http;
pub mod messages;
pub mod pool;
pub mod process;
pub mod quarantine;
pub mod recorder;
pub mod registry;
pub mod session;
pub mod status;
#[cfg(feature = "testing")]
pub mod testing;
pub mod traces;

#[doc(inline)]
pub use herder_actors::{Buffer, Error, InvalidBuffer, PoolConfig, PoolSupervisor, Reply, Result, SessionId};
#[doc(hidden)] // for `herder python install` and `herder check`
pub use herder_actors::{CLEAN_ENV_VARIABLES, PYTHON_PACKAGE, TOKEN_VARIABLES};
pub use pool::{call::Call, handle::Pool};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/testing.md")]
struct TestingPage;

#[cfg(doctest)]
#[doc = include_str!("../docs/buffers.md")]
struct BuffersPage;

#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../docs/http.md")]
struct HttpPage;
