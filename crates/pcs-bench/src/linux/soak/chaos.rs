//! What goes wrong: hops die, hang and lie, one or two at a time; the configuration and the members change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::load::Dice;
use super::{ports, start_child};
use crate::linux::hop::{Mode, PASSWORD, USER};
use crate::linux::pcs::{self, Pcs};
use crate::linux::process::Scripted;

/// Members of the configuration.
pub(crate) const MEMBERS: usize = 4;
/// How long idle upstream connections are kept.
pub(crate) const IDLE: Duration = Duration::from_secs(1);
/// The member that only the admin API knows; a hop of its own.
const EXTRA: &str = "extra";

/// The corporate hop, the members' hops, and one more for the admin API.
pub(crate) struct Hops {
    corporate: Option<Scripted>,
    corporate_port: u16,
    hops: Vec<Option<Scripted>>,
    ports: Vec<u16>,
    folder: PathBuf,
}

impl Hops {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let mut ports = ports(MEMBERS + 2)?;
        let corporate_port = ports.pop().context("a port for the corporate hop")?;
        let hops = Vec::new();
        let mut all = Self {
            corporate: None,
            corporate_port,
            hops,
            ports,
            folder: folder.to_path_buf(),
        };
        for number in 0..all.ports.len() {
            let hop = all.hop(number)?;
            all.hops.push(Some(hop));
        }
        all.corporate = Some(start_child("corporate", "corporate", corporate_port, folder)?);
        Ok(all)
    }

    fn hop(&self, number: usize) -> Result<Scripted> {
        start_child("hop", &format!("hop-{number}"), self.ports[number], &self.folder)
    }

    /// The configuration in one of its variants; 0 has all members.
    pub(crate) fn configuration(&self, variant: u64) -> String {
        let strategies = ["round_robin", "random", "least_connections", "peak_ewma"];
        let strategy =
            usize::try_from(variant).map_or("hash", |variant| strategies[variant % strategies.len()]);
        let missing = usize::try_from(variant % 7).unwrap_or(0).checked_sub(2);
        let members: Vec<String> = self.ports[..MEMBERS]
            .iter()
            .enumerate()
            .filter(|(number, _)| Some(*number) != missing)
            .map(|(number, port)| pcs::hop(&format!("hop-{number}"), *port))
            .collect();
        let idle = IDLE.as_secs();
        format!(
            "server: {{port: 0, timeout_seconds: 12, shutdown_grace_seconds: 10}}\n\
             {}\
             rotation: {{strategy: {strategy}, proxies: [{}]}}\n\
             tunnel: {{connect_timeout_seconds: 3, read_timeout_seconds: 3, idle_seconds: {idle}, warm_connections: auto}}\n\
             health_check: {{test_url: \"http://health.example/\", interval_seconds: 1, timeout_seconds: 2, success_threshold: 1}}\n\
             circuit_breaker: {{timeout_seconds: 1}}\n\
             logging: {{file: \"{}\"}}\n\
             metrics: {{port: 0}}\nadmin: {{port: 0}}\n",
            pcs::corporate(self.corporate_port),
            members.join(", "),
            self.folder.join("pcs.log").display()
        )
    }
}

/// Brings things about.
pub(crate) struct Chaos<'a> {
    hops: &'a mut Hops,
    pcs: &'a Pcs,
    admin: SocketAddr,
    dice: Dice,
}

impl<'a> Chaos<'a> {
    pub(crate) fn new(hops: &'a mut Hops, pcs: &'a Pcs, admin: SocketAddr, seed: u64) -> Self {
        Self {
            hops,
            pcs,
            admin,
            dice: Dice::new(seed),
        }
    }

    /// One thing after the other, with pauses, until the end.
    pub(crate) fn until(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            let number = usize::try_from(self.dice.up_to(MEMBERS as u64))?;
            match self.dice.up_to(10) {
                0 | 1 => self.kill(number)?,
                2 | 3 => self.hang(number)?,
                4 | 5 => self.lie(number)?,
                6 => self.corporate()?,
                7 => self.reload()?,
                _ => self.administrate(number)?,
            }
            self.pause(100, 500);
        }
        Ok(())
    }

    fn pause(&mut self, least: u64, most: u64) {
        let time = least + self.dice.up_to(most - least);
        std::thread::sleep(Duration::from_millis(time));
    }

    fn kill(&mut self, number: usize) -> Result<()> {
        // Dropping it kills it.
        self.hops.hops[number] = None;
        self.pause(200, 2500);
        self.hops.hops[number] = Some(self.hops.hop(number)?);
        Ok(())
    }

    fn hang(&mut self, number: usize) -> Result<()> {
        self.signal(number, Signal::STOP)?;
        self.pause(200, 4000);
        self.signal(number, Signal::CONT)
    }

    fn signal(&mut self, number: usize, signal: Signal) -> Result<()> {
        let hop = self.hops.hops[number].as_mut().context("it runs")?;
        hop.process().signal(signal)
    }

    fn lie(&mut self, number: usize) -> Result<()> {
        let (lie, _) = self.dice.pick(&Mode::LIES).context("there are lies")?;
        self.mode(number, lie)?;
        self.pause(200, 2500);
        self.mode(number, "good")
    }

    fn mode(&mut self, number: usize, mode: &str) -> Result<()> {
        let hop = self.hops.hops[number].as_mut().context("it runs")?;
        hop.say(&format!("mode {mode}"))
    }

    /// The corporate hop is gone, or hangs, for a moment: no member's fault.
    fn corporate(&mut self) -> Result<()> {
        if self.dice.up_to(2) == 0 {
            self.hops.corporate = None;
            self.pause(100, 800);
            let port = self.hops.corporate_port;
            self.hops.corporate = Some(start_child("corporate", "corporate", port, &self.hops.folder)?);
            return Ok(());
        }
        let corporate = self.hops.corporate.as_mut().context("it runs")?;
        corporate.process().signal(Signal::STOP)?;
        self.pause(100, 800);
        let corporate = self.hops.corporate.as_mut().context("it runs")?;
        corporate.process().signal(Signal::CONT)
    }

    fn reload(&mut self) -> Result<()> {
        for _ in 0..=self.dice.up_to(4) {
            let variant = self.dice.up_to(28);
            self.pcs.rewrite(&self.hops.configuration(variant))?;
            self.pcs.process.signal(Signal::HUP)?;
            self.pause(5, 150);
        }
        self.pcs.rewrite("rotation: {strategie: none}\n")?;
        let (status, _) = self.call("POST", "reload", None)?;
        ensure!(status == 422, "a bad configuration was answered with {status}");
        self.pcs.rewrite(&self.hops.configuration(0))?;
        self.pcs.process.signal(Signal::HUP)
    }

    fn administrate(&mut self, number: usize) -> Result<()> {
        let member = format!("proxies/hop-{number}");
        // It may be missing for the moment, by a reload: 404.
        self.call("PATCH", &member, Some(&json!({"enabled": false})))?;
        let extra = json!({
            "id": EXTRA, "host": "127.0.0.1", "port": self.hops.ports[MEMBERS], "protocol": "http",
            "username": USER, "password": PASSWORD,
        });
        let (status, answer) = self.call("POST", "proxies", Some(&extra))?;
        ensure!(
            status == 201,
            "adding a member was answered with {status}: {answer}"
        );
        self.pause(100, 1000);
        self.call("POST", &format!("proxies/{EXTRA}/check"), None)?;
        self.call("PATCH", &member, Some(&json!({"enabled": true, "weight": 2})))?;
        let (status, answer) = self.call("DELETE", &format!("proxies/{EXTRA}"), None)?;
        ensure!(
            status == 204,
            "removing a member was answered with {status}: {answer}"
        );
        Ok(())
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let path = format!("/api/v1/{path}");
        pcs::call(self.admin, method, &path, body).with_context(|| format!("{method} {path}"))
    }

    /// Everything as it was at the start.
    pub(crate) fn repair(&mut self) -> Result<()> {
        for number in 0..self.hops.hops.len() {
            if self.hops.hops[number].is_none() {
                self.hops.hops[number] = Some(self.hops.hop(number)?);
            }
            self.signal(number, Signal::CONT)?;
            self.mode(number, "good")?;
        }
        self.pcs.rewrite(&self.hops.configuration(0))?;
        let (status, answer) = self.call("POST", "reload", None)?;
        ensure!(
            status == 200,
            "the last reload was answered with {status}: {answer}"
        );
        Ok(())
    }
}
