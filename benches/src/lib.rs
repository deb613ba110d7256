//! What the benchmark programs share: the bare send loop that servers are compared with, and the rounds that set one
//! against the other. The clients are those of `starling-load`.
//!
//! Three programs are built on it, all driven by `benches/run` and described in `docs/performance.md`:
//!
//! - `limit`: the least that a server can do, see [`bare`];
//! - `load`: the clients, with the numbers and options of `docs/performance.md`;
//! - `rounds`: starts the two others and the real server in turn, see [`rounds`].
//!
//! Nothing of the server is linked in: the two sides meet on the wire only.

pub mod bare;
pub mod frame;
pub mod load;
pub mod native;
pub mod rounds;
pub mod tls;

/// The exit code of a program that ended with `result`; an error is printed with its causes, without a backtrace.
pub fn exit_code(result: anyhow::Result<()>) -> std::process::ExitCode {
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
