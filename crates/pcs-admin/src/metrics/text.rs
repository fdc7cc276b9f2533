//! OpenMetrics to text format 0.0.4.
//!
//! The encoder writes OpenMetrics only. The older format names a counter's family with its `_total`, has no `# EOF`,
//! and knows summaries, which is what the duration with its quantiles, sum and count is.

use std::fmt::Write as _;

/// Families that are written as three and are one summary.
const SUMMARY: &str = "proxy_chain_request_duration_seconds";

pub(super) fn to_classic(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    let mut help = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            family(&mut out, name, kind, help.take());
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn family(out: &mut String, name: &str, kind: &str, help: Option<&str>) {
    if name
        .strip_prefix(SUMMARY)
        .is_some_and(|suffix| matches!(suffix, "_sum" | "_count"))
    {
        return;
    }
    let (suffix, kind) = match kind {
        "counter" => ("_total", "counter"),
        "unknown" => ("", "untyped"),
        _ if name == SUMMARY => ("", "summary"),
        kind => ("", kind),
    };
    let text = help
        .and_then(|help| help.split_once(' '))
        .map_or("", |(_, text)| text);
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        "# HELP {name}{suffix} {text}\n# TYPE {name}{suffix} {kind}\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_get_their_suffix_and_the_three_become_a_summary() {
        let open = "# HELP a Help.\n# TYPE a counter\na_total{x=\"1\"} 2\n\
            # HELP proxy_chain_request_duration_seconds D.\n# TYPE proxy_chain_request_duration_seconds gauge\n\
            proxy_chain_request_duration_seconds{quantile=\"0.5\"} 1\n\
            # HELP proxy_chain_request_duration_seconds_sum S.\n# TYPE proxy_chain_request_duration_seconds_sum gauge\n\
            proxy_chain_request_duration_seconds_sum 3\n# EOF\n";
        let classic = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n\
            # HELP proxy_chain_request_duration_seconds D.\n# TYPE proxy_chain_request_duration_seconds summary\n\
            proxy_chain_request_duration_seconds{quantile=\"0.5\"} 1\nproxy_chain_request_duration_seconds_sum 3\n";
        assert_eq!(to_classic(open), classic);
    }
}
