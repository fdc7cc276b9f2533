//! `pcs-bench`: what `cargo xtask bench` and `cargo xtask soak` run, in a release build.

fn main() -> std::process::ExitCode {
    pcs_bench::main()
}
