//! `/mcp` and `/v1/pools/{pool}/mcp`: the commands as tools of the Model Context Protocol, over its transport "streamable
//! HTTP". Each response is one JSON object; the server sends no streams, requests or notifications.
//!
//! Revisions until 2025-11-25 have sessions: `initialize` begins one, `Mcp-Session-Id` names it. In a pool with session
//! affinity, it is also the session of the calls. Since 2026-07-28 each request stands for itself: a tool returns a
//! handle, which calls pass as an argument.

mod caller;
mod calls;
mod message;
mod ordered;
mod outcome;
mod routes;
mod rpc;
mod sessions;
mod tools;
mod versions;

pub(super) use caller::Mcp;
pub(super) use routes::{delete, delete_of_pool, post, post_of_pool};
pub(super) use sessions::Sessions;
