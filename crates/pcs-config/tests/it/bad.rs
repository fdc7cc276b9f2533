//! Bad files and the very words users get.

use crate::Fixture;

/// Name, file, errors one a line. `hunter2` stands for a secret and must never be in the errors.
const CASES: &[(&str, &str, &str)] = &[
    (
        "a number out of range and one that is none",
        "server:\n  port: 99999\n  max_connections: many\n  timeout_seconds: 0\n",
        "config.yaml:2:9: server.port: expected a whole number from 0 to 65535, found `99999`\n\
         config.yaml:3:20: server.max_connections: expected a whole number from 1 to 1000000, found `many`\n\
         config.yaml:4:20: server.timeout_seconds: expected seconds from 0.001 to 86400, fractions allowed, found `0`",
    ),
    (
        "quoted numbers and flags are texts",
        "server: {port: '8888', watch_config: 'yes'}\n",
        "config.yaml:1:16: server.port: expected a whole number from 0 to 65535, found the text `8888`: leave the quotes out\n\
         config.yaml:1:38: server.watch_config: expected `true` or `false`, found `yes`",
    ),
    (
        "unknown keys, near, elsewhere, far",
        "rotation:\n  stategy: random\nstrategy: random\nserver:\n  colour: red\nserver2: {}\n",
        "config.yaml:2:3: unknown key `rotation.stategy`, did you mean `strategy`?\n\
         config.yaml:3:1: unknown key `strategy`, did you mean `rotation.strategy`?\n\
         config.yaml:5:3: unknown key `server.colour` (allowed: `bind_address`, `port`, `max_connections`, \
         `timeout_seconds`, `idle_timeout_seconds`, `shutdown_grace_seconds`, `protocols`, `auth`, `rate_limit`, \
         `max_head_bytes`, `allow_from`, `watch_config`)\n\
         config.yaml:6:1: unknown key `server2`, did you mean `server`?",
    ),
    (
        "a closed set of names",
        "rotation: {strategy: fancy, when_exhausted: maybe}\nlogging: {level: LOUD, format: xml}\n",
        "config.yaml:1:22: rotation.strategy: expected `round_robin`, `random`, `weighted`, `least_used`, \
         `least_connections`, `fastest`, `peak_ewma`, `hash`, `failover`, found `fancy`\n\
         config.yaml:1:45: rotation.when_exhausted: expected `any`, `fail`, found `maybe`\n\
         config.yaml:2:18: logging.level: expected `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, found `LOUD`\n\
         config.yaml:2:32: logging.format: expected `json`, `text`, found `xml`",
    ),
    (
        "wrong shapes",
        "server: 1\nrotation: [a]\npools: x\nroutes: {a: b}\nhealth_check: {expect_status: 200}\n",
        "config.yaml:1:9: server: expected a map, found a number\n\
         config.yaml:2:12: rotation: expected a map, found a list\n\
         config.yaml:3:8: pools: expected a map of pool name to map, or URL of a proxy, found text\n\
         config.yaml:4:10: routes: expected a list of maps, found a map\n\
         config.yaml:5:31: health_check.expect_status: expected a list, each: whole number from 100 to 599, found a number",
    ),
    (
        "a list for a file",
        "- a\n",
        "config.yaml:1:3: expected a map of sections, found a list",
    ),
    (
        "secrets of the wrong shape",
        "corporate_proxy: {host: a, port: 1, username: u, password: [hunter2]}\nadmin: {token: {hunter2: 1}}\n",
        "config.yaml:1:61: corporate_proxy.password: expected text (never shown), found a list\n\
         config.yaml:2:17: admin.token: expected text (never shown), found a map",
    ),
    (
        "secrets with the wrong content",
        "corporate_proxy: {host: a, port: 1, username: 'a:b', password: hunter2}\n\
         rotation:\n  proxies:\n    - {host: a, port: 1, username: u, password: \"hunter2\\n\"}\n    \
         - http://u:hunter2@a:70000\n    - ftp://u:hunter2@a:1\n    - {url: 'http://u:hunter2@a:1/x'}\n\
         admin: {token: 'hunter2 hunter2'}\n",
        "config.yaml:1:47: corporate_proxy.username: a user name may not hold a colon\n\
         config.yaml:4:49: rotation.proxies[0].password: a password may not hold control characters such as CR or LF\n\
         config.yaml:5:7: rotation.proxies[1]: expected the URL of a proxy, `[scheme://][user:password@]host[:port]`: the port is no number from 1 to 65535\n\
         config.yaml:6:7: rotation.proxies[2]: expected the URL of a proxy, `[scheme://][user:password@]host[:port]`: unknown protocol (allowed: http, https, socks4, socks5)\n\
         config.yaml:7:13: rotation.proxies[3].url: expected the URL of a proxy, `[scheme://][user:password@]host[:port]`: a proxy's URL ends with its port: no path, query or fragment (percent-encode `/`, `?`, `#` and `@` in passwords)\n\
         config.yaml:8:16: admin.token: expected visible ASCII characters, at least one (it travels in a header)",
    ),
    (
        "an empty token is no lock",
        "admin: {token: ''}\n",
        "config.yaml:1:16: admin.token: expected visible ASCII characters, at least one (it travels in a header)",
    ),
    (
        "variables",
        "corporate_proxy:\n  host: ${NOPE}\n  port: 80${EIGHTY}\n  username: u\n  password: hunter2${\n",
        "config.yaml:2:9: corporate_proxy.host: the environment variable `NOPE` is not set (set it, or write `${NOPE:-default}`)\n\
         config.yaml:3:9: corporate_proxy.port: expected a whole number from 1 to 65535, found `80${EIGHTY}`\n\
         config.yaml:5:13: corporate_proxy.password: `${` begins a reference that does not end (write `$$` for a literal `$`)",
    ),
    (
        "what is required",
        "corporate_proxy: {port: 1}\nserver:\n  auth: {}\n  rate_limit: {burst: 1}\nrotation:\n  proxies:\n    - id: x\n",
        "config.yaml:1:19: corporate_proxy.host: required: host name or IP address\n\
         config.yaml:3:3: server.auth.users: required: list of maps\n\
         config.yaml:4:16: server.rate_limit.requests_per_second: required: number greater than 0, at most 1000000\n\
         config.yaml:7:7: rotation.proxies[0].host: required: host name or IP address (or give `url`)\n\
         config.yaml:7:7: rotation.proxies[0].port: required: whole number from 1 to 65535",
    ),
    (
        "empty maps in lists",
        "rotation:\n  proxies: [{}]\nroutes:\n  # nothing\n  -\n    {}\n  - {}\nserver:\n  auth: {users: [ {} ]}\n\
         logging: {}\nadmin: {allowed_hosts: [[], {}]}\n",
        "config.yaml:2:13: rotation.proxies[0].host: required: host name or IP address (or give `url`)\n\
         config.yaml:2:13: rotation.proxies[0].port: required: whole number from 1 to 65535\n\
         config.yaml:6:5: routes[0].hosts: required: list, each: host name with `*` for any characters, `.example.com` for a domain with all below it, network such as `10.0.0.0/8`, or IP address\n\
         config.yaml:6:5: routes[0]: required: `pool` or `via` (`direct`, `corporate`, `reject`)\n\
         config.yaml:7:5: routes[1].hosts: required: list, each: host name with `*` for any characters, `.example.com` for a domain with all below it, network such as `10.0.0.0/8`, or IP address\n\
         config.yaml:7:5: routes[1]: required: `pool` or `via` (`direct`, `corporate`, `reject`)\n\
         config.yaml:9:19: server.auth.users[0].username: required: text\n\
         config.yaml:11:25: admin.allowed_hosts[0]: expected a host name or IP address, found a list\n\
         config.yaml:11:29: admin.allowed_hosts[1]: expected a host name or IP address, found a map",
    ),
    (
        "keys that contradict each other",
        "corporate_proxy: {host: a, port: 1, username: u, password: p, auth: basic, domain: CORP, tls: {}}\n\
         rotation:\n  proxies:\n    - {url: 'http://u:p@a:1', host: b, password: hunter2}\n    - {host: a, port: 2, password: hunter2}\n    \
         - {host: a, port: 3, username: u, password: hunter2, password_file: /nope}\n\
         retry: {backoff: {initial_ms: 2000}}\n",
        "config.yaml:1:84: corporate_proxy.domain: is for NTLM and keeps Basic from being sent; it cannot stand beside `auth: basic`\n\
         config.yaml:1:90: corporate_proxy.tls: is for protocol `https` only, this proxy speaks `http`\n\
         config.yaml:4:37: rotation.proxies[0].host: `url` says it already\n\
         config.yaml:4:50: rotation.proxies[0].password: `url` has user information already\n\
         config.yaml:5:36: rotation.proxies[1].password: needs `username` beside it\n\
         config.yaml:6:73: rotation.proxies[2].password_file: cannot stand beside `password`\n\
         config.yaml:7:31: retry.backoff.initial_ms: must not be longer than `max_ms`, which is 1000",
    ),
    (
        "socks knows no HTTP authentication",
        "corporate_proxy: {host: a, port: 1, protocol: socks5, username: u, auth: ntlm, domain: D}\n",
        "config.yaml:1:74: corporate_proxy.auth: is for `http` and `https` only\n\
         config.yaml:1:88: corporate_proxy.domain: is for `http` and `https` only",
    ),
    (
        "addresses others can reach",
        "server: {bind_address: 0.0.0.0}\nmetrics: {bind_address: '::'}\nadmin: {bind_address: 10.0.0.1}\n",
        "config.yaml:1:24: server.bind_address: `0.0.0.0` is not loopback and needs `server.auth` or `server.allow_from`\n\
         config.yaml:2:25: metrics.bind_address: `::` is not loopback and needs `admin.token`\n\
         config.yaml:3:23: admin.bind_address: `10.0.0.1` is not loopback and needs `admin.token`",
    ),
    (
        "addresses that are none",
        "server: {bind_address: example.com, allow_from: [10.0.0.0/33, 1.2.3.4, x]}\nadmin: {allowed_hosts: ['a:1', b]}\n",
        "config.yaml:1:24: server.bind_address: expected an IP address such as `127.0.0.1` or `::`, or `localhost`\n\
         config.yaml:1:50: server.allow_from[0]: expected a network such as `10.0.0.0/8`, or an IP address\n\
         config.yaml:1:72: server.allow_from[2]: expected a network such as `10.0.0.0/8`, or an IP address\n\
         config.yaml:2:25: admin.allowed_hosts[0]: expected a host name or IP address without port: the host holds a colon (only IPv6 addresses do, and those stand in brackets before a port)",
    ),
    (
        "one port for two listeners",
        "server: {port: 9090}\nadmin: {port: 9090}\n",
        "config.yaml:2:15: admin.port: port 9090 is already that of `server`\n\
         config.yaml:2:15: admin.port: port 9090 is already that of `metrics`\n\
         configuration: metrics.port: port 9090 is already that of `server`",
    ),
    (
        "proxies that cannot be told apart",
        "rotation:\n  proxies:\n    - http://u:a@h:1\n    - {host: H, port: 1, username: u, password: b}\n    \
         - {id: x, host: h, port: 2}\npools:\n  p:\n    proxies:\n      - {id: x, host: h, port: 3}\n",
        "config.yaml:4:8: rotation.proxies[1]: the same protocol, host, port and user name as `rotation.proxies[0]` in line 3; give each an `id`\n\
         config.yaml:9:10: pools.p.proxies[0]: the id `x` is that of `rotation.proxies[2]` in line 5 already",
    ),
    (
        "names that are none or taken",
        "rotation: {proxies: [{id: corporate, host: h, port: 1}, {id: 'a b', host: h, port: 2}]}\n\
         pools:\n  default: {}\n  _x: {}\n  target: http://h:1\n",
        "config.yaml:1:27: rotation.proxies[0].id: the name is reserved (`corporate`, `target`, and names that begin with `_`)\n\
         config.yaml:1:62: rotation.proxies[1].id: the name holds a character that is not allowed (letters, digits, `.`, `_`, `-`, `:`, `@`, `~`, `+`)\n\
         config.yaml:3:3: pools.default: the pool `default` is described by `rotation` already\n\
         config.yaml:4:3: pools._x: the name is reserved (`corporate`, `target`, and names that begin with `_`)\n\
         config.yaml:5:3: pools.target: the name is reserved (`corporate`, `target`, and names that begin with `_`)",
    ),
    (
        "fallbacks that lead nowhere or in a circle",
        "rotation: {fallback: a}\npools:\n  a: {fallback: b}\n  b: {fallback: default}\n  c: {fallback: nope}\n",
        "config.yaml:1:22: rotation.fallback: leads back to `default` itself\n\
         config.yaml:3:17: pools.a.fallback: leads back to `a` itself\n\
         config.yaml:4:17: pools.b.fallback: leads back to `b` itself\n\
         config.yaml:5:17: pools.c.fallback: there is no pool `nope` (pools: `default`, `a`, `b`, `c`)",
    ),
    (
        "a fallback and a route to nowhere beside a member that is none",
        "rotation:\n  fallback: nowhere\n  proxies: ['ftp://a:1']\npools:\n  'bad name!': {}\n  us: {fallback: us}\n\
         routes: [{hosts: ['*'], pool: gone}]\n",
        "config.yaml:2:13: rotation.fallback: there is no pool `nowhere` (pools: `default`, `us`)\n\
         config.yaml:3:13: rotation.proxies[0]: expected the URL of a proxy, `[scheme://][user:password@]host[:port]`: unknown protocol (allowed: http, https, socks4, socks5)\n\
         config.yaml:5:3: pools.…: the name holds a character that is not allowed (letters, digits, `.`, `_`, `-`, `:`, `@`, `~`, `+`)\n\
         config.yaml:6:18: pools.us.fallback: leads back to `us` itself\n\
         config.yaml:7:31: routes[0].pool: there is no such pool (pools: `default`, `us`)",
    ),
    (
        "routes",
        "pools: {p: 'http://h:1'}\nroutes:\n  - {hosts: [], pool: p}\n  - {hosts: ['*'], pool: q}\n  - {hosts: ['*']}\n  \
         - {hosts: ['*'], pool: p, via: direct}\n  - {hosts: ['http://x/', 10.0.0.0/99], via: reject}\n  - {hosts: ['*'], via: corporate}\n",
        "config.yaml:3:6: routes[0].hosts: expected at least one host\n\
         config.yaml:4:26: routes[1].pool: there is no such pool (pools: `default`, `p`)\n\
         config.yaml:5:6: routes[2]: required: `pool` or `via` (`direct`, `corporate`, `reject`)\n\
         config.yaml:6:34: routes[3].via: cannot stand beside `pool`\n\
         config.yaml:7:14: routes[4].hosts[0]: expected a host name with `*` for any characters, `.example.com` for a domain with all below it, network such as `10.0.0.0/8`, or IP address\n\
         config.yaml:7:27: routes[4].hosts[1]: expected a host name with `*` for any characters, `.example.com` for a domain with all below it, network such as `10.0.0.0/8`, or IP address\n\
         config.yaml:8:25: routes[5].via: `corporate` needs `corporate_proxy`",
    ),
    (
        "a route to a pool that nothing describes",
        "corporate_proxy: {host: c, port: 1}\nroutes: [{hosts: ['*'], pool: default}]\n",
        "config.yaml:2:31: routes[0].pool: there is no such pool (pools: none)",
    ),
    (
        "health checks",
        "health_check: {test_url: 'ftp://x', expect_status: [200, 99], interval_seconds: -1}\n\
         rotation: {health_check: {test_url: 'https://u:hunter2@x/', expect_status: []}}\n",
        "config.yaml:1:26: health_check.test_url: expected an `http://` or `https://` URL\n\
         config.yaml:1:58: health_check.expect_status[1]: expected a whole number from 100 to 599, found `99`\n\
         config.yaml:1:81: health_check.interval_seconds: expected seconds from 0.001 to 86400, fractions allowed, found `-1`\n\
         config.yaml:2:37: rotation.health_check.test_url: expected an `http://` or `https://` URL: user information is not allowed here\n\
         config.yaml:2:61: rotation.health_check.expect_status: expected at least one status, as in [200]",
    ),
    (
        "ping behind the corporate proxy",
        "corporate_proxy: {host: a, port: 1}\npools:\n  p: {proxies: [h:1], health_check: {method: ping}}\n",
        "config.yaml:3:46: pools.p.health_check.method: `ping` reaches a proxy only where it is the first hop; behind `corporate_proxy` use `http`, `connect` or `tcp`",
    ),
    (
        "users",
        "server:\n  auth:\n    users:\n      - {username: a, password: hunter2}\n      - {username: a, password: hunter2}\n      \
         - {username: b}\n      - {username: '', password: hunter2}\n  protocols: []\n",
        "config.yaml:5:20: server.auth.users[1].username: this user is in the list twice\n\
         config.yaml:6:10: server.auth.users[2].password: required: `password` or `password_file`\n\
         config.yaml:7:20: server.auth.users[3].username: must not be empty\n\
         config.yaml:8:3: server.protocols: expected at least one of `http`, `socks5`",
    ),
    (
        "files that are not there",
        "corporate_proxy: {host: a, port: 1, protocol: https, username: u, password_file: /no/such, tls: {ca_file: /no/ca}}\n",
        "config.yaml:1:82: corporate_proxy.password_file: cannot read `/no/such`: there is no such file\n\
         config.yaml:1:107: corporate_proxy.tls.ca_file: cannot read `/no/ca`: there is no such file",
    ),
    (
        "a folder for a log",
        "logging: {level: LOUD, file: /}\n",
        "config.yaml:1:18: logging.level: expected `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, found `LOUD`\n\
         config.yaml:1:30: logging.file: `/` is a directory: name a file in it",
    ),
    (
        "paths of pages",
        "metrics: {path: metrics}\n",
        "config.yaml:1:17: metrics.path: expected a path that begins with `/`, without `?`, `#`, `*`, braces and spaces",
    ),
    (
        "no YAML",
        "server: {port: 1\n",
        "config.yaml:2:1: this is no YAML: did not find expected ',' or '}' at line 2 column 1, while parsing a flow mapping",
    ),
    (
        "keys that are no names may be secrets gone astray",
        "rotation:\n  fallback: nope\n  proxies:\n    - http://u:hunter2: x@h:1\npools:\n  http://u:hunter2@h:1: http://h:2\nu:hunter2@h: 1\n",
        "config.yaml:2:13: rotation.fallback: there is no pool `nope` (pools: `default`)\n\
         config.yaml:4:7: unknown key `rotation.proxies[0].…` (allowed: `id`, `url`, `host`, `port`, `protocol`, `username`, `password`, `password_file`, `weight`, `enabled`, `tags`, `tls`, `reuse`)\n\
         config.yaml:4:7: rotation.proxies[0].host: required: host name or IP address (or give `url`)\n\
         config.yaml:4:7: rotation.proxies[0].port: required: whole number from 1 to 65535\n\
         config.yaml:6:3: pools.…: the name holds a character that is not allowed (letters, digits, `.`, `_`, `-`, `:`, `@`, `~`, `+`)\n\
         config.yaml:7:1: unknown key `…` (allowed: `server`, `corporate_proxy`, `rotation`, `pools`, `routes`, `tunnel`, `health_check`, `circuit_breaker`, `retry`, `logging`, `metrics`, `admin`)",
    ),
    (
        "keys that are no names, twice",
        "u:hunter2@h: 1\nu:hunter2@h: 2\n",
        "config.yaml:2:1: the key `…` stands here twice, first in line 1",
    ),
    (
        "the value of a tag",
        "admin:\n  token: !!int hunter2\n",
        "config.yaml:2:10: this is no YAML: a value does not fit its tag (`!!name`)",
    ),
    (
        "keys that stand twice",
        "server: {port: 1}\nserver:\n  port: 2\n  port: 3\n",
        "config.yaml:2:1: the key `server` stands here twice, first in line 1\n\
         config.yaml:4:3: the key `port` stands here twice, first in line 3",
    ),
];

#[test]
fn bad_files_give_every_error_with_place_key_and_what_is_allowed() {
    let mut wrong = String::new();
    for (name, text, expected) in CASES {
        let got = Fixture::new(text).env("EIGHTY", "80").errors();
        assert!(!got.contains("hunter2"), "{name}: a secret is told: {got}");
        if got != *expected {
            wrong.push_str(&format!("--- {name}\n{got}\n+++ expected\n{expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn flags_and_variables_are_named_in_errors() {
    let got = Fixture::new("")
        .env("PCS__SERVER__PORT", "x")
        .env("PCS__SERVER__PROT", "1")
        .env("PCS__ADMIN__TOKEN", "hunter2 hunter2")
        .env("PCS__ROTATION__PROXIES", "[http://u:hunter2@h:0")
        .set("retry.max_retries=101")
        .set("hunter2")
        .set("retry.budget=x")
        .upstream("ftp://u:hunter2@h:1")
        .errors();
    let mut lines: Vec<_> = got.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "--set: expected key.path=value, as in server.port=9000",
            "--set: retry.budget: expected a map, found text",
            "--set: retry.max_retries: expected a whole number from 0 to 100, found `101`",
            "--upstream: rotation.proxies[0]: expected the URL of a proxy, `[scheme://][user:password@]host[:port]`: unknown protocol (allowed: http, https, socks4, socks5)",
            "environment variable PCS__ADMIN__TOKEN: admin.token: expected visible ASCII characters, at least one (it travels in a header)",
            "environment variable PCS__ROTATION__PROXIES: rotation.proxies: this is no YAML: did not find expected ',' or ']'",
            "environment variable PCS__SERVER__PORT: server.port: expected a whole number from 0 to 65535, found `x`",
            "environment variable PCS__SERVER__PROT: unknown key `server.prot`, did you mean `port`?",
        ]
    );
}

#[test]
fn a_flood_of_errors_is_cut() {
    let mut text = "rotation:\n  proxies:\n".to_owned();
    for port in 0..500 {
        text.push_str(&format!("    - {{host: h, port: {}}}\n", 100_000 + port));
    }
    let errors = Fixture::new(&text).errors();
    assert_eq!(errors.lines().count(), 101, "a hundred and the remark");
    assert!(errors.ends_with("(further errors are not shown)"));
}
