//! What lies under `deploy/`, held against the program and against the tools that will read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pcs_testkit::need;
use pcs_testkit::real::{Unavailable, check_rules, find};
use serde_json::Value;
use tempfile::TempDir;

use crate::clients::{Said, curl_text, run};
use crate::pcs::{Call, Pcs, config, member};

/// Every variable that a configuration of `deploy/` may refer to, with a value that is easy to find again.
const VARIABLES: [(&str, &str); 4] = [
    ("PCS_ADMIN_TOKEN", "token-0123456789abcdef"),
    ("CORP_PROXY_USER", "corp-user"),
    ("CORP_PROXY_PASS", "corp-s3cret-Pa"),
    ("ROTATING_PROXY_PASS", "rota-s3cret-Pb"),
];

/// A file under `deploy/`.
pub(crate) fn deployed(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    root.canonicalize().unwrap().join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deployed(name)).unwrap()
}

pub(crate) async fn call(program: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.args(arguments);
    run(command).await
}

/// The documents of a YAML file. No crate of this test reads YAML, Python with PyYAML does.
async fn documents(name: &str) -> Result<Vec<Value>, Unavailable> {
    const PROGRAM: &str = "import json, sys, yaml\n\
                           print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1], encoding='utf-8')))))";
    let python = pcs_testkit::real::python()?;
    if !call(&python, &["-c", "import yaml"]).await.ok {
        return Err(Unavailable::Missing {
            program: "PyYAML",
            package: "python3-yaml",
        });
    }
    let said = call(&python, &["-c", PROGRAM, deployed(name).to_str().unwrap()]).await;
    assert!(said.ok, "{name} is no YAML: {}", said.err);
    Ok(serde_json::from_str(&said.out).unwrap())
}

/// The one document of this kind.
fn kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let mut found = documents.iter().filter(|document| document["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    one
}

/// The values of this key, however deep.
fn values<'a>(tree: &'a Value, key: &str) -> Vec<&'a Value> {
    match tree {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let here = (name == key).then_some(value);
                here.into_iter().chain(values(value, key))
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| values(item, key)).collect(),
        _ => Vec::new(),
    }
}

/// The variables that a configuration refers to outside its comments.
fn variables(config: &str) -> BTreeSet<String> {
    let lines = config.lines().filter(|line| !line.trim_start().starts_with('#'));
    let rest = lines.flat_map(|line| line.split("${").skip(1));
    rest.map(|rest| rest.split(['}', ':']).next().unwrap().to_owned())
        .collect()
}

/// `config` loads when its variables are set, says none of their values, and is refused without any one of them.
async fn loads_with_its_variables_alone(name: &str, config: &str) {
    let wanted = variables(config);
    assert!(
        wanted.contains("PCS_ADMIN_TOKEN"),
        "{name} protects its admin API"
    );
    let given = |left_out: Option<&str>| {
        let given = VARIABLES
            .into_iter()
            .filter(|(variable, _)| wanted.contains(*variable) && Some(*variable) != left_out);
        given.fold(Call::with(config), |call, (variable, value)| {
            call.env(variable, value)
        })
    };
    let (status, out, err) = given(None).output("check").await;
    assert_eq!(status, 0, "{name}: {err}");
    for (variable, value) in VARIABLES {
        let told = out.contains(value) || err.contains(value);
        // A user name is no secret.
        assert!(!told || variable == "CORP_PROXY_USER", "{name} tells {variable}");
    }
    for variable in &wanted {
        let (status, _, err) = given(Some(variable)).output("check").await;
        assert_eq!(status, 2, "{name} without {variable}: {err}");
        assert!(err.contains(variable), "{name} without {variable}: {err}");
    }
}

#[tokio::test]
async fn the_configurations_of_docker_and_compose_load_with_their_variables_alone() {
    for name in ["docker/config.yaml", "compose/config.yaml"] {
        loads_with_its_variables_alone(name, &text(name)).await;
    }
}

#[tokio::test]
async fn the_config_map_loads_with_the_variables_of_the_secret() {
    let documents = need!(documents("kubernetes/pcs.yaml").await);
    let config = kind(&documents, "ConfigMap")["data"]["config.yaml"]
        .as_str()
        .unwrap();
    let secret = kind(&documents, "Secret")["stringData"].as_object().unwrap();
    let held: BTreeSet<String> = secret.keys().cloned().collect();
    assert_eq!(
        held,
        variables(config),
        "what the Secret holds and the ConfigMap asks"
    );
    loads_with_its_variables_alone("the ConfigMap", config).await;
}

#[tokio::test]
async fn the_pods_of_kubernetes_are_confined_and_probed_on_ports_that_exist() {
    let documents = need!(documents("kubernetes/pcs.yaml").await);
    let deployment = kind(&documents, "Deployment");
    let template = &deployment["spec"]["template"];
    let pod = &template["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert!(container["resources"]["limits"]["memory"].is_string());
    // Dead upstream proxies make a pod unready and never restart it: only readiness asks about them.
    for probe in ["startupProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["path"], "/health", "{probe}");
        assert_eq!(container[probe]["httpGet"]["port"], "proxy", "{probe}");
    }
    let asked = &container["readinessProbe"]["exec"]["command"];
    assert_eq!(asked[1], "healthcheck", "{asked}");
    let named: BTreeSet<&str> = container["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["name"].as_str().unwrap())
        .collect();
    let service = kind(&documents, "Service");
    let served = service["spec"]["ports"].as_array().unwrap().iter();
    let served: BTreeSet<&str> = served.map(|port| port["targetPort"].as_str().unwrap()).collect();
    assert_eq!(served, named);
    let labels = &template["metadata"]["labels"];
    let budget = kind(&documents, "PodDisruptionBudget");
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    // A budget that no eviction can meet would block every drain of a node.
    assert!(budget["spec"]["minAvailable"].as_u64() < deployment["spec"]["replicas"].as_u64());
}

#[tokio::test]
async fn compose_confines_the_server_and_mounts_files_that_exist() {
    let documents = need!(documents("compose/compose.yaml").await);
    let compose = &documents[0];
    let pcs = &compose["services"]["pcs"];
    assert_eq!(pcs["read_only"], true);
    assert_eq!(pcs["cap_drop"], serde_json::json!(["ALL"]));
    assert_eq!(pcs["security_opt"], serde_json::json!(["no-new-privileges:true"]));
    let passed: BTreeSet<String> = serde_json::from_value(pcs["environment"].clone()).unwrap();
    let wanted = variables(&text("compose/config.yaml"));
    assert!(wanted.is_subset(&passed), "{wanted:?}, {passed:?}");
    let mounts = values(compose, "volumes").into_iter().filter_map(Value::as_array);
    let sources: Vec<&str> = mounts
        .flatten()
        .filter_map(|mount| mount.as_str()?.split(':').next())
        .collect();
    assert!(sources.len() > 4, "{sources:?}");
    for source in sources {
        if source.starts_with('.') {
            assert!(deployed("compose").join(source).exists(), "{source}");
        } else {
            assert!(compose["volumes"].get(source).is_some(), "{source}");
        }
    }
    // The state lies on a volume, in a folder that the image gives to the user it runs as.
    let folder = "/var/lib/pcs";
    assert!(text("compose/config.yaml").contains(&format!("\n  state_file: {folder}/")));
    assert!(
        values(pcs, "volumes")[0]
            .as_array()
            .unwrap()
            .contains(&format!("pcs-state:{folder}").into())
    );
    let image = text("docker/Dockerfile");
    let owner = image
        .lines()
        .find_map(|line| line.strip_prefix("USER "))
        .expect("it is not root's");
    let given = image
        .lines()
        .filter(|line| line.starts_with("COPY ") && line.ends_with(folder));
    assert_eq!(
        given
            .filter(|line| line.contains(&format!("--chown={owner} ")))
            .count(),
        1,
        "{image}"
    );
    // Ports are published to this machine alone.
    let ports = values(compose, "ports").into_iter().filter_map(Value::as_array);
    for port in ports.flatten() {
        assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{port}");
    }
}

#[tokio::test]
async fn the_alerts_are_rules_and_fire_when_they_should() {
    let promtool = need!(find("promtool", "prometheus"));
    // The syntax alone: the token it names is a file of the container.
    let scrape = deployed("prometheus/prometheus.yml");
    let said = call(
        &promtool,
        &["check", "config", "--syntax-only", scrape.to_str().unwrap()],
    )
    .await;
    assert!(said.ok, "{}{}", said.out, said.err);
    let alerts = deployed("prometheus/alerts.yml");
    let said = call(&promtool, &["check", "rules", alerts.to_str().unwrap()]).await;
    assert!(said.ok, "{}{}", said.out, said.err);
    assert!(said.out.contains("6 rules found"), "{}", said.out);
    let remarks = need!(check_rules(&deployed("prometheus/alerts_test.yml")));
    assert_eq!(remarks, Vec::<String>::new());
    // promtool is content with a file that tests nothing.
    let tests = text("prometheus/alerts_test.yml");
    for alert in text("prometheus/alerts.yml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(
            tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n")),
            "{alert} never fires"
        );
    }
}

/// The names of a query in PromQL.
#[derive(Debug, Default)]
struct Names {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Names {
    /// Adds those of `query`: a word is a label in braces and after `by` or `on`, a function before a parenthesis,
    /// else a metric.
    fn read(&mut self, query: &str) {
        let query = without_strings(query);
        // Grafana's way to list the values of a label.
        if let Some(inner) = query.strip_prefix("label_values(") {
            let (metric, label) = inner.trim_end_matches(')').rsplit_once(',').unwrap();
            self.labels.insert(label.trim().to_owned());
            return self.read(metric);
        }
        let mut rest = query.as_str();
        while let Some(first) = rest.chars().next() {
            let end = match first {
                '{' => {
                    let end = rest.find('}').unwrap();
                    self.labels.extend(words(rest.split_at(end).0));
                    end
                }
                '[' => rest.find(']').unwrap(),
                _ if is_word(first) => {
                    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    let (word, after) = rest.split_at(end);
                    rest = self.word(word, after);
                    continue;
                }
                _ => first.len_utf8(),
            };
            rest = rest.split_at(end).1;
        }
    }

    /// Files one word, and answers what is left to read.
    fn word<'a>(&mut self, word: &str, after: &'a str) -> &'a str {
        let next = after.trim_start();
        match word {
            "by" | "on" | "without" | "ignoring" | "group_left" | "group_right" => {
                let end = next.find(')').unwrap();
                let (labels, left) = next.split_at(end);
                self.labels.extend(words(labels));
                left
            }
            "and" | "or" | "unless" | "bool" | "offset" => after,
            _ => {
                let applied = ["(", "by ", "without "].iter().any(|sign| next.starts_with(sign));
                if !applied && !word.starts_with(|c: char| c.is_ascii_digit()) {
                    self.metrics.insert(word.to_owned());
                }
                after
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

/// Whatever is quoted left out. None of our queries quotes a quote.
fn without_strings(query: &str) -> String {
    assert!(!query.contains("\\\""), "{query}");
    query.split('"').step_by(2).collect()
}

/// The queries of both dashboards, and of their variables.
fn dashboard_queries() -> Vec<String> {
    let mut queries = Vec::new();
    for name in ["dashboards/global.json", "dashboards/proxies.json"] {
        let dashboard: Value = serde_json::from_str(&text(name)).unwrap();
        let found = ["expr", "query"].map(|key| values(&dashboard, key));
        let found: Vec<_> = found
            .iter()
            .flatten()
            .filter_map(|query| query.as_str())
            .collect();
        assert!(found.len() > 5, "{name} asks for something");
        queries.extend(found.into_iter().map(str::to_owned));
    }
    queries
}

/// The expressions of the alerts.
fn alert_queries() -> Vec<String> {
    let alerts = text("prometheus/alerts.yml");
    let rules = alerts.split("expr:").skip(1);
    rules
        .map(|rule| rule.split("for:").next().unwrap())
        .map(|expression| expression.trim_start().trim_start_matches(">-").to_owned())
        .collect()
}

/// The series of a page by its `# TYPE` lines, and all labels on it.
fn page_names(page: &str) -> Names {
    let mut names = Names::default();
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            let endings: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["", "_sum", "_count"],
                _ => &[""],
            };
            names
                .metrics
                .extend(endings.iter().map(|ending| format!("{name}{ending}")));
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = without_strings(labels.split('}').next().unwrap());
            names.labels.extend(words(&labels));
        }
    }
    names
}

#[tokio::test]
async fn dashboards_and_alerts_ask_for_metrics_and_labels_that_the_page_has() {
    need!(find("curl", "curl"));
    let origin = pcs_testkit::Origin::start(pcs_testkit::OriginKind::Http).await;
    let good = pcs_testkit::Proxy::http().start().await;
    let pcs = Pcs::start(&config(None, &[member("good", "http", good.address(), None)], "")).await;
    curl_text(&["-x", &pcs.url(), &origin.url("/ip")]).await;
    pcs.accesses(1).await;
    let metrics = pcs.listener("metrics").expect("metrics are on");
    let page = curl_text(&[&format!("http://{metrics}/metrics")]).await;
    let there = page_names(&page);
    let mut asked = Names::default();
    for query in dashboard_queries().iter().chain(&alert_queries()) {
        asked.read(query);
    }
    // Both readers find what is known to be there.
    assert!(asked.metrics.len() > 15, "{asked:?}");
    assert!(
        asked.metrics.contains("process_resident_memory_bytes"),
        "{asked:?}"
    );
    let nowhere: Vec<&String> = asked.metrics.difference(&there.metrics).collect();
    assert!(nowhere.is_empty(), "no such metric: {nowhere:?}\n{page}");
    // Prometheus adds these two by itself.
    let scraped = ["instance", "job"];
    let nowhere: Vec<&String> = asked
        .labels
        .difference(&there.labels)
        .filter(|label| !scraped.contains(&label.as_str()))
        .collect();
    assert!(nowhere.is_empty(), "no such label: {nowhere:?}\n{page}");
}

#[tokio::test]
async fn the_queries_of_the_dashboards_are_promql() {
    let promtool = need!(find("promtool", "prometheus"));
    let queries = dashboard_queries();
    let expressions = queries.iter().filter(|query| !query.starts_with("label_values("));
    // JSON is YAML.
    let rules: Vec<Value> = expressions
        .enumerate()
        .map(|(at, expr)| serde_json::json!({"record": format!("query:{at}"), "expr": expr}))
        .collect();
    let count = rules.len();
    let file = serde_json::json!({"groups": [{"name": "dashboards", "rules": rules}]});
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rules.yml");
    fs::write(&path, file.to_string()).unwrap();
    let said = call(&promtool, &["check", "rules", path.to_str().unwrap()]).await;
    assert!(said.ok, "{}{}", said.out, said.err);
    assert!(said.out.contains(&format!("{count} rules found")), "{}", said.out);
}

#[test]
fn the_dashboards_ask_the_data_source_that_compose_provides() {
    let provided = text("compose/grafana/provisioning/datasources/prometheus.yml");
    let uid = provided
        .lines()
        .find_map(|line| line.trim().strip_prefix("uid: "))
        .expect("the data source has a fixed id");
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for name in ["dashboards/global.json", "dashboards/proxies.json"] {
        let dashboard: Value = serde_json::from_str(&text(name)).unwrap();
        let sources = values(&dashboard, "datasource");
        assert!(sources.len() > 5, "{name}");
        for source in sources {
            assert_eq!(source["uid"], uid, "{name}");
        }
        let own = dashboard["uid"].as_str().unwrap().to_owned();
        assert_eq!(
            seen.insert(own, name.to_owned()),
            None,
            "one id for two dashboards"
        );
    }
}

/// The unit with the built program in place of the installed one.
fn unit(dir: &Path) -> PathBuf {
    let unit = text("systemd/pcs.service");
    let ours = unit.replace(
        "ExecStart=/usr/bin/pcs ",
        concat!("ExecStart=", env!("CARGO_BIN_EXE_pcs"), " "),
    );
    assert_ne!(unit, ours);
    let path = dir.join("pcs.service");
    fs::write(&path, ours).unwrap();
    path
}

#[tokio::test]
async fn systemd_finds_no_fault_with_the_unit() {
    let analyze = need!(find("systemd-analyze", "systemd"));
    let dir = TempDir::new().unwrap();
    let unit = unit(dir.path());
    let said = call(&analyze, &["verify", unit.to_str().unwrap()]).await;
    assert!(said.ok, "{}{}", said.out, said.err);
    // It warns of keys that it does not know, and is content.
    let remarks: Vec<&str> = said
        .err
        .lines()
        .filter(|line| line.contains("pcs.service"))
        .collect();
    assert_eq!(remarks, Vec::<&str>::new());
}

#[tokio::test]
async fn the_unit_exposes_little() {
    let analyze = need!(find("systemd-analyze", "systemd"));
    let dir = TempDir::new().unwrap();
    let unit = unit(dir.path());
    // The threshold is in tenths: an exposure of at most 2.9 of 10.
    let arguments = [
        "security",
        "--no-pager",
        "--offline=true",
        "--threshold=29",
        unit.to_str().unwrap(),
    ];
    let said = call(&analyze, &arguments).await;
    if said.err.contains("unrecognized option") {
        need!(Err::<(), _>(Unavailable::Unfit(
            "this systemd-analyze does not judge unit files offline".to_owned()
        )));
    }
    assert!(said.ok, "{}{}", said.out, said.err);
    assert!(
        said.out.contains("Overall exposure level"),
        "{}{}",
        said.out,
        said.err
    );
}

#[cfg(target_os = "linux")]
mod notify {
    use std::net::SocketAddr;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use pcs_testkit::real::Signal;
    use pcs_testkit::{Origin, OriginKind, Proxy};

    use crate::clients::connect;
    use crate::pcs::{Call, Pcs, config, member};

    /// What the service manager is told next.
    async fn told(socket: &UnixDatagram) -> String {
        let socket = socket.try_clone().unwrap();
        let received = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).expect("word within 30 s");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        });
        received.await.unwrap()
    }

    /// Where the proxy port is, once the log that another thread writes tells.
    async fn listening(pcs: &Pcs) -> SocketAddr {
        let told = async {
            loop {
                if let Some(address) = pcs.listener("proxy") {
                    return address;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told).await.unwrap()
    }

    #[tokio::test]
    async fn a_service_manager_hears_of_ready_once_it_serves_and_of_stopping_while_it_drains() {
        let origin = Origin::start(OriginKind::Echo).await;
        let proxy = Proxy::http().start().await;
        let call = Call::with(&config(None, &[member("one", "http", proxy.address(), None)], ""));
        let path = call.dir().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut pcs = call.env("NOTIFY_SOCKET", path.to_str().unwrap()).launch("run");

        assert_eq!(told(&socket).await.trim_end(), "READY=1");
        // From here on units ordered behind it start, and use it at once.
        let address = listening(&pcs).await;
        let (tunnel, head) = connect(address, &origin.address().to_string()).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");

        pcs.signal(Signal::Terminate);
        assert_eq!(told(&socket).await.trim_end(), "STOPPING=1");
        assert!(pcs.ended().is_none(), "the tunnel is still up");
        drop(tunnel);
        assert_eq!(pcs.wait().await.code(), Some(0));
        // Nothing else was said, READY=1 a second time least of all.
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 64]).is_err());
    }
}
