//! No packet leaves for a target any other way: shown where every packet is counted.
//!
//! `pcs` and its clients run in a network namespace whose only way out is a cable to the namespace of hop 1. There,
//! and only there, are hop 2, the target, and the names of both. nftables counts and drops whatever leaves for anywhere
//! but hop 1, and every name query: none may be seen. A first step shows that the counter counts.

use std::net::SocketAddr;
use std::process::Command;

use pcs_testkit::need;
use pcs_testkit::real::{Peer, Unavailable, find, free_address, is_root, python};

use crate::clients::run;
use crate::pcs::{CORPORATE, Call, ROTATING, config, entry};

/// Hop 1's end of the cable, and ours.
const HOP_1: &str = "10.213.0.1";
const INSIDE: &str = "10.213.0.2";

/// Two namespaces and a cable between them; gone when dropped.
struct Cable {
    inside: String,
    outside: String,
}

impl Cable {
    fn lay() -> Result<Self, Unavailable> {
        find("ip", "iproute2")?;
        find("nft", "nftables")?;
        if !is_root() {
            return Err(Unavailable::Unfit(
                "making network namespaces takes root".to_owned(),
            ));
        }
        let id = std::process::id();
        let cable = Self {
            inside: format!("pcs-in-{id}"),
            outside: format!("pcs-out-{id}"),
        };
        let (inside, outside) = (&cable.inside, &cable.outside);
        for namespace in [inside, outside] {
            if !sh(&format!("ip netns add {namespace}")) {
                return Err(Unavailable::Unfit(
                    "this machine makes no network namespaces".to_owned(),
                ));
            }
        }
        // Names are resolved by the namespace's own files; inside, the only name server is behind the cable.
        let files = [
            (
                inside,
                "resolv.conf",
                format!("nameserver {HOP_1}\noptions timeout:1 attempts:1\n"),
            ),
            (inside, "hosts", "127.0.0.1 localhost\n".to_owned()),
            (
                outside,
                "hosts",
                "127.0.0.1 localhost hop-2.test target.test\n".to_owned(),
            ),
        ];
        for (namespace, name, text) in files {
            let folder = format!("/etc/netns/{namespace}");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(format!("{folder}/{name}"), text).unwrap();
        }
        let rules = format!(
            "table inet leak {{\n counter leaked {{}}\n counter asked {{}}\n chain out {{\n  \
             type filter hook output priority 0; policy accept;\n  \
             meta l4proto {{ tcp, udp }} th dport {{ 53, 853, 5353 }} counter name asked drop\n  \
             oifname \"lo\" accept\n  ip daddr {HOP_1} tcp dport >= 1024 accept\n  \
             meta l4proto ipv6-icmp accept\n  counter name leaked drop\n }}\n}}\n"
        );
        let steps = [
            format!("ip link add pcs0 netns {inside} type veth peer name pcs1 netns {outside}"),
            format!("ip -n {inside} address add {INSIDE}/30 dev pcs0"),
            format!("ip -n {outside} address add {HOP_1}/30 dev pcs1"),
            format!("ip -n {inside} link set lo up && ip -n {outside} link set lo up"),
            format!("ip -n {inside} link set pcs0 up && ip -n {outside} link set pcs1 up"),
            // The only way out is by hop 1: a stray dial becomes a packet that is counted, not an error that is not.
            format!("ip -n {inside} route add default via {HOP_1}"),
            format!("ip netns exec {inside} nft '{rules}'"),
        ];
        for step in steps {
            if !sh(&step) {
                return Err(Unavailable::Unfit(format!("this machine refuses: {step}")));
            }
        }
        Ok(cable)
    }

    /// A command in one of the two.
    fn within(namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]);
        command
    }

    /// Starts a peer beyond the cable, on this address.
    fn peer(
        &self,
        ip: &str,
        arguments: impl Fn(SocketAddr, &std::path::Path) -> Vec<String>,
    ) -> Result<Peer, Unavailable> {
        let address = || SocketAddr::new(ip.parse().unwrap(), free_address([127, 0, 0, 1].into()).port());
        let listens = |address: SocketAddr| {
            sh(&format!(
                "ip netns exec {} ss -Hltn | grep -q '{address} '",
                self.outside
            ))
        };
        let command = |dir: &std::path::Path, address| {
            let arguments = arguments(address, dir);
            let mut command = Self::within(&self.outside, &arguments[0]);
            command.args(&arguments[1..]);
            command
        };
        Peer::start_where("a peer in a namespace", address, command, listens)
    }

    /// A tinyproxy beyond the cable.
    fn tinyproxy(&self, ip: &str, login: (&str, &str)) -> Result<Peer, Unavailable> {
        find("tinyproxy", "tinyproxy-bin")?;
        self.peer(ip, |address, dir| {
            let file = dir.join("tinyproxy.conf");
            let conf = format!(
                "Port {}\nListen {}\nLogLevel Connect\nLogFile \"{}\"\nBasicAuth {} {}\n",
                address.port(),
                address.ip(),
                dir.join("tinyproxy.log").display(),
                login.0,
                login.1
            );
            std::fs::write(&file, conf).unwrap();
            ["tinyproxy", "-d", "-c", file.to_str().unwrap()]
                .map(str::to_owned)
                .to_vec()
        })
    }

    /// How many packets leaked and how many names were asked for, since the start.
    fn counted(&self) -> (u64, u64) {
        let output = Self::within(&self.inside, "nft")
            .args(["-j", "list", "counters"])
            .output()
            .unwrap();
        let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packets = |name: &str| {
            let counters = listed["nftables"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| &item["counter"]);
            counters
                .into_iter()
                .find(|counter| counter["name"] == name)
                .unwrap()["packets"]
                .as_u64()
                .unwrap()
        };
        (packets("leaked"), packets("asked"))
    }

    /// How many packets found no route at all.
    fn unroutable(&self) -> u64 {
        let output = Self::within(&self.inside, "cat")
            .arg("/proc/net/snmp")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut pairs = names.split(' ').zip(values.split(' '));
        pairs
            .find(|(name, _)| *name == "OutNoRoutes")
            .unwrap()
            .1
            .parse()
            .unwrap()
    }

    /// curl beside `pcs`: its output and the status of the answer.
    async fn curl(&self, arguments: &[&str]) -> String {
        let mut command = Self::within(&self.inside, "curl");
        command
            .args(["-sS", "-m", "15", "-w", "%{http_code}/%{http_connect}"])
            .args(arguments);
        let said = run(command).await;
        format!("{}{}", said.out, said.err)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in [&self.inside, &self.outside] {
            sh(&format!("ip netns del {namespace}"));
            let _ = std::fs::remove_dir_all(format!("/etc/netns/{namespace}"));
        }
    }
}

fn sh(line: &str) -> bool {
    let output = Command::new("sh")
        .args(["-c", line])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    output.status.success()
}

#[tokio::test]
async fn behind_a_counted_wire_nothing_leaves_but_to_hop_1() {
    need!(find("curl", "curl"));
    let python = need!(python());
    let cable = need!(Cable::lay());
    let mut first = need!(cable.tinyproxy(HOP_1, CORPORATE));
    let mut second = need!(cable.tinyproxy("127.0.0.1", ROTATING));
    let site = tempfile::TempDir::new().unwrap();
    std::fs::write(site.path().join("page"), "reached\n").unwrap();
    let target = need!(cable.peer("127.0.0.1", |address, _| {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let folder = site.path().to_str().unwrap();
        [
            python.to_str().unwrap(),
            "-u",
            "-m",
            "http.server",
            "--bind",
            &ip,
            "--directory",
            folder,
            &port,
        ]
        .map(str::to_owned)
        .to_vec()
    }));
    let url = format!("http://target.test:{}/page", target.port());

    // The counters count: a direct dial and a name query.
    let control = cable
        .curl(&["--noproxy", "*", "-m", "2", "http://198.51.100.7:8080/"])
        .await;
    assert!(control.starts_with("000/"), "{control}");
    cable.curl(&["--noproxy", "*", "-m", "3", &url]).await;
    let control = cable.counted();
    assert!(
        control.0 > 0 && control.1 > 0,
        "the counters count nothing: {control:?}"
    );
    let unroutable = cable.unroutable();

    let login = |(user, password): (&'static str, &'static str)| [("username", user), ("password", password)];
    let (hop_1, hop_2) = (first.port().to_string(), second.port().to_string());
    let mut corporate = vec![("protocol", "http"), ("host", HOP_1), ("port", &hop_1)];
    corporate.extend(login(CORPORATE));
    // Its name is known beyond the cable only.
    let mut rotating = vec![
        ("id", "hop-2"),
        ("protocol", "http"),
        ("host", "hop-2.test"),
        ("port", &hop_2),
    ];
    rotating.extend(login(ROTATING));
    let config = config(Some(&entry(&corporate)), &[entry(&rotating)], "");
    let pcs = Call::with(&config)
        .by(&["ip", "netns", "exec", &cable.inside])
        .start()
        .await;
    let socks = pcs.address().to_string();

    let ways: [&[&str]; 3] = [
        &["-x", &pcs.url()],
        &["-p", "-x", &pcs.url()],
        &["--socks5-hostname", &socks],
    ];
    for way in ways {
        let said = cable.curl(&[way, &[&url]].concat()).await;
        assert!(said.starts_with("reached\n200"), "{way:?}: {said}");
    }
    assert_eq!(
        cable.counted(),
        control,
        "packets left for elsewhere while all was well"
    );
    let reached = target.log().matches("GET /page").count();
    assert_eq!(reached, 3, "{}", target.log());

    let elsewhere = ["http://198.51.100.7:8080/", "http://nowhere.test/"];
    for (what, peer) in [("hop 2", &mut second), ("hop 1", &mut first)] {
        peer.stop();
        for way in ways {
            for url in [url.as_str(), elsewhere[0], elsewhere[1]] {
                let said = cable.curl(&[way, &[url]].concat()).await;
                assert!(!said.contains("reached"), "{what} is down, {way:?}: {said}");
                assert!(
                    said.contains("502") || said.contains("SOCKS") || said.contains("503"),
                    "{what}, {way:?}: {said}"
                );
            }
        }
        assert_eq!(
            cable.counted(),
            control,
            "packets left for elsewhere while {what} was down"
        );
    }
    assert_eq!(
        cable.unroutable(),
        unroutable,
        "something was dialled that has no route"
    );
    assert_eq!(
        target.log().matches("GET /page").count(),
        reached,
        "{}",
        target.log()
    );
    drop(pcs);
}
