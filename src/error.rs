//! What an [`Error`](crate::Error) says about the call, and what to do next.
//!
//! ```
//! use herder::error::{Category, Strategy};
//! # use herder::testing::{Fault, Script, scripted};
//! # use serde_json::{Value, json};
//!
//! # #[tokio::main]
//! # async fn main() {
//! # let script = Script::new().command("crash", async |_| Err(Fault::killed(11)));
//! # let pool = scripted("crashes", script, |context| context.basic().app("app.py:app").build()).await;
//! let error = pool.call::<Value>("crash", &json!({})).await.unwrap_err();
//! assert_eq!(error.category(), Category::Connection);
//! // The worker died while it ran the call, so only an idempotent call may be sent again.
//! assert!(error.may_have_run());
//! assert_eq!((error.strategy(), error.strategy_if_idempotent()), (Strategy::Abandon, Strategy::ImmediateRetry));
//! println!("{}", error.verbose());
//! # pool.shutdown_and_check().await;
//! # }
//! ```
//!
//! An error of a lost worker has an [`ExitReport`], and an error of a call that was sent more than once its
//! [`Attempts`]. [`decide`] is the table from which the strategies follow.

#[doc(inline)]
pub use herder_actors::{
    ArgumentError, ArgumentStep, Attempt, AttemptProblemDetails, Attempts, Category, Cause, Decision, ErrorDetail,
    ErrorId, ExitMemory, ExitReport, Incident, InvalidErrorDetail, OutOfMemory, ProblemDetails, RejectionData,
    Severity, Strategy, decide,
};
