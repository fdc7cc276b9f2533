//! What lies under `deploy/` for Kubernetes, Compose and Docker, judged by validators that know their schemas.
//!
//! `cargo xtask test` installs them (`xtask/src/validators.rs`). Each is given spoiled copies too: one that is content
//! with anything would prove nothing.

use std::fs;
use std::path::{Path, PathBuf};

use pcs_testkit::need;
use pcs_testkit::real::Unavailable;
use tempfile::TempDir;

use crate::clients::Said;
use crate::deploy::{call, deployed};

/// A program of the validators' venv, which lies beside what cargo builds.
fn validator(name: &str) -> Result<PathBuf, Unavailable> {
    let built = Path::new(env!("CARGO_BIN_EXE_pcs"));
    let target = built.ancestors().nth(2).unwrap();
    let program = target.join("validators/bin").join(name);
    if target.join("validators/installed").is_file() && program.is_file() {
        return Ok(program);
    }
    let what = format!("{name} is not installed (`cargo xtask test` does, from the Python package index)");
    Err(Unavailable::Unfit(what))
}

/// The file is taken, and a copy that has `spoiled` in place of `good` refused, with this in what is said.
async fn judges(file: &str, spoils: &[(&str, &str, &str)], judge: impl AsyncFn(&str) -> Said) {
    let path = deployed(file);
    let said = judge(path.to_str().unwrap()).await;
    assert!(said.ok, "{file}: {}{}", said.out, said.err);
    let text = fs::read_to_string(&path).unwrap();
    let dir = TempDir::new().unwrap();
    for (good, spoiled, told) in spoils {
        let copy = text.replacen(good, spoiled, 1);
        assert_ne!(copy, text, "{file} has no {good:?}");
        let path = dir.path().join(path.file_name().unwrap());
        fs::write(&path, copy).unwrap();
        let said = judge(path.to_str().unwrap()).await;
        assert!(!said.ok, "{file} with {spoiled:?} is taken");
        let all = said.out + &said.err;
        assert!(all.contains(told), "{file} with {spoiled:?}: {all}");
    }
}

#[tokio::test]
async fn the_manifest_for_kubernetes_keeps_to_its_schemas() {
    let program = need!(validator("kubernetes-validate"));
    let spoils = [
        (
            "readOnlyRootFilesystem:",
            "readOnlyRootFileSystem:",
            "readOnlyRootFileSystem",
        ),
        ("replicas: 2", "replicas: two", "two"),
        ("kind: Deployment", "kind: Deploiment", "Deploiment"),
        ("minAvailable:", "minimumAvailable:", "minimumAvailable"),
    ];
    // The oldest that is still run somewhere, and the newest the schemas know.
    for version in ["1.27", "1.37"] {
        judges("kubernetes/pcs.yaml", &spoils, async |path| {
            let said = call(&program, &["--strict", "-k", version, path]).await;
            // Of a kind without a schema it warns, and is content.
            let known = !said.out.contains("WARN") && !said.err.contains("WARN");
            Said {
                ok: said.ok && known,
                ..said
            }
        })
        .await;
    }
}

#[tokio::test]
async fn the_compose_file_keeps_to_the_specification() {
    const PROGRAM: &str = "import sys, compose_spec\n\
                           read = compose_spec.PyCompose.from_yaml(open(sys.argv[1], encoding='utf-8').read())\n\
                           read.validate()\n\
                           read.to_spec()";
    let python = need!(validator("python3"));
    let spoils = [
        ("read_only:", "raed_only:", "raed_only"),
        ("restart: unless-stopped", "restart: sometimes", "sometimes"),
        ("nofile: 65536", "nofile: many", "nofile"),
        ("source: admin_token", "source: another", "another"),
        (
            "stop_grace_period: 40s",
            "stop_grace_period: 40 parsecs",
            "parsecs",
        ),
    ];
    judges("compose/compose.yaml", &spoils, async |path| {
        call(&python, &["-c", PROGRAM, path]).await
    })
    .await;
}

#[tokio::test]
async fn the_dockerfile_is_without_a_fault_that_the_linter_knows() {
    let program = need!(validator("hadolint"));
    let spoils = [
        ("USER 65532:65532", "USER root", "DL3002"),
        ("FROM rust:1.95-bookworm", "FROM rust", "DL3006"),
        ("CMD [\"run\"]", "CMD run", "DL3025"),
        ("WORKDIR /src", "WORKDIRE /src", "missing whitespace"),
    ];
    judges("docker/Dockerfile", &spoils, async |path| {
        call(&program, &["--no-color", path]).await
    })
    .await;
}
