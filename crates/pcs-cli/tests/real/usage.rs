//! What is said about a line that cannot be followed.

use crate::pcs::Call;

#[tokio::test]
async fn wrong_usage_tells_no_password() {
    let url = "http://bob:typed-S3cret@127.0.0.1:1/";
    for (verb, arguments) in [
        ("probe", vec![url]),
        ("probe", vec!["--nonsense", url]),
        ("stats", vec!["--admin", url]),
        (url, vec![]),
    ] {
        let (status, out, err) = Call::with("{}").args(&arguments).output(verb).await;
        assert!(status != 0 && !err.is_empty(), "{verb}: {out}{err}");
        assert!(
            !format!("{out}{err}").contains("typed-S3cret"),
            "{verb}: {out}{err}"
        );
    }
}
