//! Waits for events, with the timeout that all waits of tests have. Holds nothing.

use std::time::Duration;

/// The timeout of a wait: two minutes. It only detects a hang and measures nothing, so it is long: a machine may be busy.
pub const HANG_TIMEOUT: Duration = Duration::from_secs(120);

/// The pause between two checks of [`wait_until`].
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Awaits a future, at most [`HANG_TIMEOUT`].
///
/// # Panics
/// If the future is not ready within [`HANG_TIMEOUT`]; `what` says in the message what was awaited.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use herder_actors::testing::with_timeout;
/// let answer = with_timeout("an answer", async { 42 }).await;
/// assert_eq!(answer, 42);
/// # });
/// ```
#[expect(clippy::disallowed_methods, reason = "the one timeout against a hang")]
pub async fn with_timeout<F: IntoFuture>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(HANG_TIMEOUT, future.into_future()).await {
        Ok(output) => output,
        Err(_) => panic!("timed out after {HANG_TIMEOUT:?} waiting for: {what}"),
    }
}

/// Waits until a condition holds, by checking it repeatedly.
///
/// # Panics
/// If the condition does not hold within [`HANG_TIMEOUT`]; `what` names it in the message.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let mut checks = 0;
/// # use herder_actors::testing::wait_until;
/// wait_until("the third check", async || {
///     checks += 1;
///     checks == 3
/// })
/// .await;
/// # });
/// ```
#[expect(clippy::disallowed_methods, reason = "polls, there is no event to wait for")]
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout(what, polling).await;
}
