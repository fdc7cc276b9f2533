//! Every target over its seeds and a fixed series of their mutations: what can be had of fuzzing without a fuzzer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do, and show which input it was"
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use pcs_fuzz::TARGETS;

/// Pseudo-random numbers (SplitMix64), the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has seeds");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Pieces that mean something to one parser or another.
const WORDS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"\0",
    b"\xff",
    b"\"",
    b"@",
    b"%0d",
    b"${",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: x-y, close\r\n",
    b"HTTP/1.0",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"  - ",
    b"\n  password: ",
];

fn mutated(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(input.len() + 1);
        let end = (at + 1 + dice.below(16)).min(input.len());
        match dice.below(7) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 if at < input.len() => input[at] = u8::try_from(dice.below(256)).unwrap(),
            2 => drop(input.drain(at..end)),
            3 => input.truncate(at),
            4 => {
                let piece = input[at..end].to_vec();
                let to = dice.below(input.len() + 1);
                drop(input.splice(to..to, piece));
            }
            5 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => drop(input.splice(at..at, WORDS[dice.below(WORDS.len())].iter().copied())),
        }
    }
    input
}

#[track_caller]
fn holds(name: &str, mutations: usize) {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        // Not for this system.
        return;
    };
    let seeds = seeds(name);
    let mut dice = Dice(4);
    let inputs = seeds
        .iter()
        .cloned()
        .chain((0..mutations).map(|_| mutated(&seeds, &mut dice)));
    for input in inputs {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))) {
            println!(
                "{name} does not hold for {} bytes: \"{}\"",
                input.len(),
                input.escape_ascii()
            );
            resume_unwind(panic);
        }
    }
}

#[test]
fn heads_are_read_alike_however_they_are_cut() {
    holds("http_head", 4000);
}

#[test]
fn bodies_come_out_alike_however_they_come_in() {
    holds("body", 4000);
}

#[test]
fn any_answer_to_connect_is_borne() {
    holds("connect_answer", 2000);
}

#[test]
fn any_socks_is_borne_on_both_sides() {
    holds("socks", 4000);
}

#[test]
fn any_ntlm_challenge_is_refused_or_proven() {
    holds("ntlm", 4000);
}

#[test]
fn any_configuration_is_loaded_or_explained() {
    holds("config", 1500);
}

#[test]
fn no_broken_configuration_tells_its_secrets() {
    holds("config_secrets", 4000);
}

#[test]
fn any_proxy_url_is_read_or_refused() {
    holds("proxy_url", 4000);
}

#[test]
fn a_relay_loses_nothing_whatever_its_ends_do() {
    holds("relay", 2000);
}

#[test]
fn a_relay_of_sockets_loses_nothing_whatever_its_peers_do() {
    holds("relay_sockets", 300);
}

#[test]
fn every_target_has_a_program_and_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let tests = include_str!("main.rs");
    for target in TARGETS {
        let name = target.name;
        assert!(root.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        assert!(tests.contains(&format!("holds(\"{name}\", ")), "{name}");
    }
}
