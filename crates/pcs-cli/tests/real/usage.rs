//! What is said about a line that cannot be followed.

use crate::pcs::Call;

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    let cases: [(&str, &[&str], i32); 7] = [
        ("probe", &["ftp://x"], 2),
        ("probe", &["https://a b/"], 2),
        ("probe", &["--proxy", "nope"], 2),
        ("stats", &["--admin", "ftp://x"], 2),
        ("reload", &["--admin", "http://a b"], 2),
        // It asks a server that is not there, and the two answers of a health check are all it has.
        ("stats", &["--admin", "http://127.0.0.1:1"], 1),
        ("healthcheck", &["--admin", "ftp://x"], 1),
    ];
    for (verb, arguments, expected) in cases {
        let (status, out, err) = Call::with("{}").args(arguments).output(verb).await;
        assert_eq!(status, expected, "{verb} {arguments:?}: {out}{err}");
    }
    let (status, _, err) = Call::with("admin: {port: 0}").output("stats").await;
    assert!(status == 2 && err.contains("admin.port is 0"), "{status} {err}");
    let (status, _, err) = Call::with("server: {prot: 1}").output("healthcheck").await;
    assert!(status == 1 && err.contains("prot"), "{status} {err}");
}

#[tokio::test]
async fn options_before_a_sub_command_are_told_where_to_stand() {
    let (status, _, err) = Call::with("{}").args(&["f.yaml", "check"]).output("-c").await;
    assert_eq!(status, 2, "{err}");
    assert!(err.contains("behind the sub-command"), "{err}");
    let both = ["--proxy", "a", "--all"];
    let (status, _, err) = Call::with("{}").args(&both).output("probe").await;
    assert_eq!(status, 2, "{err}");
    assert!(!err.contains("behind the sub-command"), "{err}");
}

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
