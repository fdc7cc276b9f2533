//! The command line: what `pcs --help` shows.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// One port in front of a corporate proxy and a pool of rotating proxies.
///
/// Point any client at it: `curl -x http://127.0.0.1:8888 https://example.com`.
/// Without a sub-command it serves, as `pcs run` does.
#[derive(Debug, Parser)]
#[command(name = "pcs", version = crate::VERSION, args_conflicts_with_subcommands = true, max_term_width = 110)]
#[command(
    after_help = "Exit status: 0 clean stop, 1 failure at run time, 2 wrong usage or configuration.\n\
    The configuration file is the first of: --config, $PCS_CONFIG, ./config.yaml, $XDG_CONFIG_HOME/pcs/config.yaml,\n\
    /etc/pcs/config.yaml; else the defaults built in. `pcs check` prints what is in force."
)]
pub struct Cli {
    /// What to do; serve where nothing is named.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `run`, for a call without a sub-command.
    #[command(flatten)]
    pub run: ConfigArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or Ctrl+C (the default).
    Run(ConfigArgs),
    /// Load and validate the configuration, print the effective one with secrets masked.
    Check(ConfigArgs),
    /// Dial a URL through the chain once and tell, hop by hop, how it went.
    Probe(ProbeArgs),
    /// Try it without an account: starts throw-away proxies and a target, a pcs in front, prints curl lines.
    Demo(DemoArgs),
    /// List and change the rotating proxies of a running server.
    Proxies(ProxiesArgs),
    /// Print the counters of a running server.
    Stats(AdminArgs),
    /// Make a running server read its configuration again.
    Reload(AdminArgs),
    /// Ask a running server whether it is healthy: exit status 0 or 1.
    Healthcheck(HealthArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell to complete for.
        shell: Shell,
    },
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file (YAML).
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Leave the corporate proxy out of the chain.
    #[arg(long)]
    pub no_corporate: bool,
    /// Log level: ERROR, WARN, INFO, DEBUG or TRACE.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Set one key, over file and environment: `--set server.port=9000`. Repeatable.
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// A rotating proxy without a file: `--upstream http://user:pass@host:port`. Repeatable.
    #[arg(long, value_name = "URL")]
    pub upstream: Vec<String>,
}

/// `pcs probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// What to reach; `health_check.test_url` where not given.
    pub url: Option<String>,
    /// Through this rotating proxy rather than the one the strategy picks.
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    pub proxy: Option<String>,
    /// Through every rotating proxy, one after the other.
    #[arg(long)]
    pub all: bool,
    /// One JSON object per probe, for scripts.
    #[arg(long)]
    pub json: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `pcs demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The port of the demo's proxy; 0 takes any free one.
    #[arg(long, default_value_t = 8888)]
    pub port: u16,
}

/// How to find a running server's admin API.
#[derive(Debug, Clone, Default, Args)]
pub struct AdminArgs {
    /// Base URL of the admin API, for instance http://127.0.0.1:8889; from the configuration where not given.
    #[arg(long, value_name = "URL", env = "PCS_ADMIN_URL")]
    pub admin: Option<String>,
    /// Its bearer token (`admin.token`).
    #[arg(long, env = "PCS_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Print what the server answered, as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Configuration file to find the server by.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `pcs healthcheck`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// How to find the server.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `pcs proxies`.
#[derive(Debug, Args)]
pub struct ProxiesArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: ProxyAction,
}

/// What to do with rotating proxies.
#[derive(Debug, Subcommand)]
pub enum ProxyAction {
    /// List them with their health and counters.
    List(AdminArgs),
    /// Add one: `pcs proxies add http://user:pass@host:port --id fr-1`.
    Add {
        /// Its URL: protocol://user:password@host:port.
        url: String,
        /// Its id; made up from the URL where not given.
        #[arg(long)]
        id: Option<String>,
        /// The pool it joins.
        #[arg(long, default_value = "default")]
        pool: String,
        /// How to find the server.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove one; tunnels already open live on.
    Remove {
        /// Its id.
        id: String,
        /// How to find the server.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Let one be picked again.
    Enable {
        /// Its id.
        id: String,
        /// How to find the server.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Keep one from being picked; tunnels already open live on.
    Disable {
        /// Its id.
        id: String,
        /// How to find the server.
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_default_and_takes_the_same_options() {
        for line in [&["pcs", "-c", "f.yaml"][..], &["pcs", "run", "-c", "f.yaml"]] {
            let cli = Cli::try_parse_from(line).unwrap();
            let args = match cli.command {
                None => cli.run,
                Some(Command::Run(args)) => args,
                Some(other) => panic!("{other:?}"),
            };
            assert_eq!(args.config, Some(PathBuf::from("f.yaml")));
        }
    }
}
