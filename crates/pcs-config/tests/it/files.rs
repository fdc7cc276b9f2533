//! Files: which one is found, what it may be, and what hangs on it.

use std::path::Path;

use pcs_config::{Origin, Sources, discover, load};

use crate::Fixture;

fn sources(env: &[(&str, &str)]) -> Sources {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Sources {
        env,
        ..Sources::default()
    }
}

#[test]
fn the_first_file_found_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/pcs");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("config.yaml");
    std::fs::write(&file, "server: {port: 7}").unwrap();
    let home = home.path().to_str().unwrap();
    let xdg = format!("{home}/.config");
    assert_eq!(discover(&sources(&[("HOME", home)])), Origin::File(file.clone()));
    assert_eq!(
        discover(&sources(&[("XDG_CONFIG_HOME", &xdg), ("HOME", "/nope")])),
        Origin::File(file.clone())
    );
    assert_eq!(
        discover(&sources(&[("XDG_CONFIG_HOME", ""), ("HOME", home)])),
        Origin::File(file.clone())
    );
    let named = discover(&sources(&[("PCS_CONFIG", "/no/such"), ("HOME", home)]));
    assert_eq!(
        named,
        Origin::File("/no/such".into()),
        "a file asked for by name is not passed over"
    );
    let mut flagged = sources(&[("PCS_CONFIG", "/no/such"), ("HOME", home)]);
    flagged.file = Some("/flag".into());
    assert_eq!(discover(&flagged), Origin::File("/flag".into()));
    let loaded = load(&sources(&[("HOME", home)])).unwrap();
    assert_eq!(
        (loaded.config.server.listen.port(), loaded.watched),
        (7, vec![file])
    );
}

#[test]
fn without_a_file_the_embedded_one_is_taken() {
    let loaded = load(&sources(&[("HOME", "/nope"), ("PCS_CONFIG", "")])).unwrap();
    assert_eq!(
        (loaded.origin, loaded.config.plain_mode),
        (Origin::Embedded, true)
    );
    assert_eq!((loaded.watched.len(), loaded.warnings.len()), (0, 0));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let error = |path: &Path| {
        load(&Sources {
            file: Some(path.into()),
            ..Sources::default()
        })
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        error(Path::new("/no/such.yaml")),
        "/no/such.yaml: cannot read `/no/such.yaml`: there is no such file"
    );
    let folder = tempfile::tempdir().unwrap();
    assert!(error(folder.path()).ends_with("it is a directory"));
    let file = folder.path().join("x");
    std::fs::write(&file, vec![b'#'; 1024 * 1024]).unwrap();
    assert!(
        load(&Sources {
            file: Some(file.clone()),
            ..Sources::default()
        })
        .is_ok()
    );
    std::fs::write(&file, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(error(&file).ends_with("is larger than 1048576 bytes"));
    std::fs::write(&file, b"a: \xff").unwrap();
    assert!(error(&file).ends_with("is no UTF-8 text"));
}

#[test]
fn a_password_may_stand_in_a_file() {
    for (content, expected) in [
        ("p", "p"),
        ("p\n", "p"),
        ("p\r\n", "p"),
        ("p\n\n", "p\n"),
        (" p ", " p "),
        ("${X}", "${X}"),
    ] {
        let mut fixture = Fixture::new("");
        let path = fixture.path("secret");
        std::fs::write(&path, content).unwrap();
        let text = format!(
            "rotation: {{proxies: [{{host: h, port: 1, username: u, password_file: {}}}]}}",
            path.display()
        );
        std::fs::write(fixture.path("config.yaml"), text).unwrap();
        fixture.sources.env.clear();
        let got = fixture.load();
        if expected.contains('\n') {
            let errors = fixture.errors();
            assert!(
                errors.contains("password_file: a password may not hold control characters"),
                "{errors}"
            );
            continue;
        }
        let loaded = got.unwrap();
        let credentials = loaded.config.pools[0].members[0]
            .hop
            .credentials
            .as_ref()
            .unwrap();
        assert_eq!(credentials.password().expose(), expected);
        assert_eq!(loaded.watched, [fixture.path("config.yaml"), path.clone()]);
        assert!(
            !loaded.config.to_masked_yaml().contains("***"),
            "the file's name is no secret"
        );
    }
}

#[test]
fn an_authority_file_has_to_hold_a_certificate() {
    let fixture = Fixture::new("");
    let path = fixture.path("ca.pem");
    let text = format!(
        "corporate_proxy: {{host: h, port: 1, protocol: https, tls: {{ca_file: {}}}}}",
        path.display()
    );
    std::fs::write(fixture.path("config.yaml"), text).unwrap();
    std::fs::write(&path, "nothing").unwrap();
    assert!(fixture.errors().ends_with("holds no PEM certificate"));
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let loaded = fixture.load().unwrap();
    assert_eq!(loaded.watched, [fixture.path("config.yaml"), path.clone()]);
    assert_eq!(loaded.config.corporate.unwrap().tls.ca_file, Some(path));
}

#[cfg(unix)]
#[test]
fn a_literal_password_others_can_read_is_worth_a_word() {
    use std::os::unix::fs::PermissionsExt;
    let cases = [
        ("admin: {token: hunter2}", 0o644, true),
        ("admin: {token: hunter2}", 0o640, true),
        ("admin: {token: hunter2}", 0o600, false),
        ("admin: {token: $<T>}", 0o644, false),
        ("admin: {token: 12345}", 0o644, true),
        ("rotation: {proxies: ['http://u:hunter2@h:1']}", 0o644, true),
        ("rotation: {proxies: ['http://u:${T}@h:1']}", 0o644, false),
        ("rotation: {proxies: ['http://h:1']}", 0o644, false),
        ("server: {port: 1}", 0o644, false),
    ];
    for (text, mode, expected) in cases {
        let fixture = Fixture::new(text).env("T", "t");
        std::fs::set_permissions(fixture.path("config.yaml"), std::fs::Permissions::from_mode(mode)).unwrap();
        let warnings = fixture.warnings();
        assert_eq!(
            warnings.iter().any(|warning| warning.contains("chmod 600")),
            expected,
            "{text} {mode:o}: {warnings:?}"
        );
        assert!(!warnings.concat().contains("hunter2"));
    }
}

#[cfg(unix)]
#[test]
fn a_password_file_others_can_read_is_worth_a_word() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new("");
    let path = fixture.path("secret");
    std::fs::write(&path, "p").unwrap();
    let text = format!(
        "corporate_proxy: {{host: h, port: 1, username: u, password_file: {}}}",
        path.display()
    );
    std::fs::write(fixture.path("config.yaml"), text).unwrap();
    for (mode, expected) in [(0o600, 0), (0o644, 1)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fixture.warnings().len(), expected, "{mode:o}");
    }
}

#[test]
fn an_empty_password_file_is_told() {
    let fixture = Fixture::new("");
    let path = fixture.path("word");
    let text = format!(
        "corporate_proxy: {{host: h, port: 1, username: u, password_file: {}}}",
        path.display()
    );
    std::fs::write(fixture.path("config.yaml"), text).unwrap();
    for (text, expected) in [("", true), ("\n", true), ("hunter2\n", false)] {
        std::fs::write(&path, text).unwrap();
        let warnings = fixture.warnings();
        let told = warnings.iter().any(|warning| warning.contains("is empty"));
        assert_eq!(told, expected, "{text:?}: {warnings:?}");
    }
}
