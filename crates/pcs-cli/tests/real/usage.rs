//! What is said about a line that cannot be followed.

use crate::pcs::Call;

#[tokio::test]
async fn completions_for_nobody_do_not_panic() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_pcs"))
        .args(["completions", "zsh"])
        .stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(
        said.contains("standard output") && !said.contains("panicked"),
        "{said}"
    );
}

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
