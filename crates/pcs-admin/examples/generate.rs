//! Writes `docs/admin-api.md` and `docs/metrics.md`.

use std::path::Path;
use std::sync::Arc;

#[path = "../tests/it/still.rs"]
mod still;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::write(docs.join("admin-api.md"), pcs_admin::api_reference())?;
    let now = tokio::time::Instant::now().into_std();
    let metrics = Arc::new(pcs_admin::Metrics::new(1, now).begun_at(std::time::SystemTime::UNIX_EPOCH));
    std::fs::write(
        docs.join("metrics.md"),
        pcs_admin::metrics_reference(&metrics, &still::pools(&[]), now),
    )
}
