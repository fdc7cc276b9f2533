//! Waiting, with an end: a test that waits for what never comes fails and says for what.

use std::future::Future;
use std::time::Duration;

/// How long anything may take on the slowest machine.
const LIMIT: Duration = Duration::from_secs(30);
/// How long between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// What `wait` comes to, in at most 30 s.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(LIMIT, wait).await;
    assert!(came.is_ok(), "not {what} in {LIMIT:?}");
    came.expect("looked at above")
}

/// Waits until the condition holds, at most 30 s.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}
