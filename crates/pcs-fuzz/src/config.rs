//! Configurations: any text, and files with a secret in them that are broken in some other place.

use pcs_config::{Config, Errors, Loaded, Sources, diff, load_text};

use crate::dice::Choices;

/// Any text for a file.
pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Only what is in the text is tried, not what lies around on this machine.
    let names_file = |line: &str| line.split('#').next().is_some_and(|line| line.contains("_file"));
    if text.lines().any(names_file) {
        return;
    }
    match load(&text) {
        Err(errors) => well_formed(&errors),
        Ok(loaded) => {
            let Loaded { config, warnings, .. } = &loaded;
            assert!(
                diff(config, config).is_empty(),
                "a configuration differs from itself"
            );
            let masked = config.to_masked_yaml();
            let shown = format!("{config:?}\n{warnings:?}\n{masked}");
            for secret in secrets(config) {
                // What stands in the text once stands there as a secret.
                let once = text.matches(secret).count() == 1;
                assert!(
                    secret.len() < 8 || !once || !shown.contains(secret),
                    "a secret is shown"
                );
            }
            let again = load(masked);
            assert!(
                again.is_ok(),
                "what is in force cannot be loaded: {:?}\n{masked}",
                again.err()
            );
        }
    }
}

fn load(text: &str) -> Result<Loaded, Errors> {
    let variables = [("NAME", "value"), ("PORT", "8080"), ("EMPTY", "")];
    let sources = Sources {
        env: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Sources::default()
    };
    load_text(&sources, "fuzz.yaml", text)
}

fn well_formed(errors: &Errors) {
    assert!(!errors.as_slice().is_empty() && errors.as_slice().len() <= Errors::MAX);
    for error in errors.as_slice() {
        let text = error.to_string();
        assert!(
            !text.contains(['\r', '\n', '\u{1b}']),
            "an error has one line: {text:?}"
        );
    }
}

fn secrets(config: &Config) -> Vec<&str> {
    let members = config.pools.iter().flat_map(|pool| &pool.members);
    let hops = config.corporate.iter().chain(members.map(|member| &member.hop));
    let known = hops.filter_map(|hop| hop.credentials.as_ref());
    let users = config.server.auth.iter().flatten();
    let passwords = known.chain(users).map(|credentials| credentials.password());
    passwords
        .chain(&config.admin.token)
        .map(|secret| secret.expose())
        .collect()
}

const MARKER: &str = "hunter2hunter2";

/// Where a secret may stand; `\u{1}` is its place. `pools` takes no further lines: any value below it is a proxy's
/// URL, and hosts are shown.
const SECTIONS: &[&str] = &[
    "corporate_proxy:\n  host: proxy.example\n  port: 3128\n  username: alice\n  password: \u{1}\n",
    "rotation:\n  strategy: random\n  proxies:\n    - id: one\n      host: a.example\n      port: 1\n      username: u\n      password: \u{1}\n",
    "rotation:\n  proxies:\n    - http://user:\u{1}@a.example:1\n    - host: b.example\n      port: 2\n",
    "rotation:\n  proxies:\n    - url: http://user:\u{1}@a.example:1\n      weight: 2\n",
    "pools: {other: http://user:\u{1}@a.example:1}\n",
    "server:\n  port: 0\n  auth:\n    users:\n      - username: bob\n        password: \u{1}\n",
    "admin:\n  token: \u{1}\n",
];

/// How a secret may be written, well or badly; `\u{1}` is the secret itself. It is nowhere a key by itself: words
/// where only names stand are shown.
const SPELLINGS: &[&str] = &[
    "\u{1}",
    "\"\u{1}\"",
    "'\u{1}'",
    "[\u{1}]",
    "{a: \u{1}}",
    "\u{1} x",
    "\"\u{1}\\n\"",
    "\u{1}: y",
    "- \u{1}",
    "!tag \u{1}",
    "!!int \u{1}",
    "!\u{1} x",
    "&a \u{1}",
    "&\u{1}",
    "*\u{1}",
    "|\n          \u{1}",
    ">-\n          \u{1}\n          \u{1}",
    "\n          \u{1}",
    "\u{1}${",
    "${\u{1}",
    "$<\u{1}",
    "${NOPE:-\u{1}",
    "${NOPE:-\u{1}}",
    "${NAME}\u{1}",
    "$\u{1}",
    "\u{1} # c",
    "\"\u{1}",
    "'\u{1}",
    "\"\u{1}\\x\"",
    "\"\u{1}\" x",
    "\u{1}\t",
    "%\u{1}",
    "`\u{1}",
    ", \u{1}",
    "\u{1}\u{7f}",
    "\u{1}@/?#",
    "<<: \u{1}",
    "0x\u{1}",
];

/// Other values; none begins something that goes on in the next line, where the secret may stand.
const VALUES: &[&str] = &[
    "",
    "null",
    "~",
    "x",
    "-1",
    "0",
    "99999999999999999999",
    "1e9",
    ".inf",
    "true",
    "a b",
    "a: b",
    "${NOPE}",
    "${NAME}",
    "${PORT}",
    "${EMPTY}",
    "$$",
    "é",
    "::1",
    "socks4",
    "fail",
    "- a",
    "!!str",
    "*a",
    "&a",
    "@",
    "%",
    "`",
    "[]",
    "{}",
    "[a, b]",
    "{a: b}",
    "\"\\x\"",
    "'a'",
];

/// Lines that may come in between.
const LINES: &[&str] = &[
    "server:",
    "  port: x",
    "  bogus: 2",
    "unknown: 1",
    "rotation:",
    "  proxies:",
    "    - host: c.example",
    "      port: 70000",
    "corporate_proxy:",
    "  host: a..b",
    "  p: {proxies: []}",
    "routes:",
    "  - {hosts: [a], pool: none}",
    "---",
    "...",
    "- a",
    "a",
    "# c",
    "  <<: *a",
    "\t",
    "health_check: {method: ping}",
    "admin:",
    "  bind_address: 0.0.0.0",
    "? a",
    "%YAML 9.9",
    "logging: {level: LOUD}",
];

/// Files in which only a secret's place holds the secret, wrong in ways that the input chooses: whatever is said of
/// them, the secret is not.
pub(crate) fn run_secrets(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut lines: Vec<String> = Vec::new();
    for _ in 0..=choices.byte() % 3 {
        let section = choices.one_of(SECTIONS);
        let spelling = choices.one_of(SPELLINGS).replace('\u{1}', MARKER);
        // A secret over several lines stays with its key.
        lines.extend(section.lines().map(|line| line.replace('\u{1}', &spelling)));
    }
    while !choices.is_over() && lines.len() < 60 {
        spoil(&mut lines, &mut choices);
    }
    let text = lines.join("\n");
    match load(&text) {
        Err(errors) => {
            well_formed(&errors);
            assert!(
                !format!("{errors}{errors:?}").contains(MARKER),
                "{errors}\n{text}"
            );
        }
        Ok(loaded) => {
            let config = &loaded.config;
            let shown = format!("{config:?}\n{:?}\n{}", loaded.warnings, config.to_masked_yaml());
            assert!(!shown.contains(MARKER), "{shown}\n{text}");
        }
    }
}

/// Does something to one line.
fn spoil(lines: &mut Vec<String>, choices: &mut Choices<'_>) {
    let what = choices.byte() % 6;
    let at = usize::from(choices.byte()) % lines.len().max(1);
    let Some(line) = lines.get_mut(at) else {
        return;
    };
    match what {
        0 => drop(lines.remove(at)),
        1 => *line = format!("  {line}"),
        2 => *line = line.strip_prefix("  ").unwrap_or(line).to_owned(),
        3 => {
            if let Some((key, _)) = line.split_once(": ").filter(|_| !line.contains(MARKER)) {
                *line = format!("{key}: {}", choices.one_of(VALUES));
            }
        }
        4 => lines.insert(at, (*choices.one_of(LINES)).to_owned()),
        _ => {
            let line = line.clone();
            lines.push(line);
        }
    }
}
