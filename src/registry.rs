//! Names of live actors: an actor is found by its name and type, whatever arbiter it runs on.
//!
//! ```
//! use herder::{PoolSupervisor, registry, session::SessionAffinityActor};
//! # use herder::testing::{Script, scripted};
//!
//! # #[tokio::main]
//! # async fn main() {
//! # let pool = scripted("named", Script::new(), |context| context.enhanced().app("app.py:app").build()).await;
//! let name = pool.name();
//! assert!(registry::lookup::<PoolSupervisor>(name.as_str()).is_some());
//! assert!(registry::lookup::<SessionAffinityActor>(&name.affinity_name()).is_some());
//! # pool.shutdown_and_check().await;
//! # }
//! ```
//!
//! The registry holds weak addresses only: a registration does not keep its actor alive.

#[doc(inline)]
pub use herder_actors::registry::{NameTaken, Registered, Registration, lookup, register};
