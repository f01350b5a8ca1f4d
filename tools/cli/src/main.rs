//! `switchyard`: the command line. Runs the dataplane, looks into a running one, shows and measures what it does.
//!
//! One module per command. What is printed is made by pure functions from values (a status, counters, a report); only
//! a command's `run` talks to the process, the clock and the terminal.
#![forbid(unsafe_code)]

mod apply;
mod bench;
mod capture;
mod chain;
mod check;
mod claims;
mod config;
mod connect;
mod control;
mod demo;
mod explain;
mod generate;
mod keys;
mod label;
mod names;
mod node;
mod output;
mod peer;
mod ping;
mod run;
mod secret;
mod show;
mod table;
mod top;
mod trace;
mod traffic;
mod units;
mod why;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// A cjdns label-switch box for many tenants
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a network with a box in it, drive traffic through, and watch
    Demo(demo::DemoArgs),
    /// Run the dataplane in this process
    Run(run::RunArgs),
    /// Say what of this machine and a configuration works, hurts or is refused
    #[command(visible_alias = "doctor")]
    Check(check::CheckArgs),
    /// Measure switching on this machine, beside what others cost on it
    Bench(bench::BenchArgs),
    Chain(chain::ChainArgs),
    /// Send a spec to the running process: all of it is taken, or nothing
    Apply(apply::ApplyArgs),
    Keys(keys::KeysArgs),
    Peer(peer::PeerArgs),
    Node(node::NodeArgs),
    Show(show::ShowArgs),
    /// Watch tenants, ports, drops and workers live
    Top(top::TopArgs),
    /// Be the neighbours of a box: send cjdns frames on plain links, and account for what arrives
    Traffic(traffic::TrafficArgs),
    /// Follow packets stage by stage, with the reason for each step
    Trace(trace::TraceArgs),
    /// Write frames of a port, a vif or a drop reason as pcapng
    Capture(capture::CaptureArgs),
    /// Say what the box would do with a label, hop by hop
    Explain(explain::ExplainArgs),
    /// Send switch pings along a path
    Ping(ping::PingArgs),
    Status(control::status::StatusArgs),
    Configure(control::shell::ShellArgs),
    Config(control::config::ConfigArgs),
    Tenant(control::tenant::TenantArgs),
    Token(control::token::TokenArgs),
    Lease(control::lease::LeaseArgs),
    Ledger(control::ledger::LedgerArgs),
    Vswitch(control::vswitch::VswitchArgs),
    Drain(control::drain::DrainArgs),
    Audit(control::audit::AuditArgs),
    Backup(control::store::BackupArgs),
    Restore(control::store::RestoreArgs),
    Db(control::store::DbArgs),
    SupportBundle(control::support::BundleArgs),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
}

/// Which process to talk to.
#[derive(Args, Clone, Debug)]
struct ProcessArgs {
    /// Management socket of the process
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "SWITCHYARD_SOCKET",
        default_value = "/run/switchyard/dataplane.sock"
    )]
    socket: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = std::io::stdout().lock();
    let result = run(&cli.command, &mut out);
    let result = out.flush().map_err(Into::into).and(result);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough (`| head`).
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // What was found was printed.
            if let Some(output::Exit(code)) = error.downcast_ref() {
                return ExitCode::from(*code);
            }
            // Nothing is left to do if even standard error is closed.
            let _closed = writeln!(std::io::stderr(), "switchyard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command, out: &mut dyn Write) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(args, out),
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args, out),
        Command::Bench(args) => bench::run(args, out),
        Command::Chain(args) => chain::run(args, out),
        Command::Apply(args) => apply::run(args, out),
        Command::Keys(args) => keys::run(args, out),
        Command::Peer(args) => peer::run(args, out),
        Command::Node(args) => node::run(args, out),
        Command::Show(args) => show::run(args, out),
        Command::Top(args) => top::run(args),
        Command::Traffic(args) => traffic::run(args, out),
        Command::Trace(args) => trace::run(args, out),
        Command::Capture(args) => capture::run(args, out),
        Command::Explain(args) => explain::run(args, out),
        Command::Ping(args) => ping::run(args, out),
        Command::Status(args) => control::status::run(args, out),
        Command::Configure(args) => control::shell::run(args, out),
        Command::Config(args) => control::config::run(args, out),
        Command::Tenant(args) => control::tenant::run(args, out),
        Command::Token(args) => control::token::run(args, out),
        Command::Lease(args) => control::lease::run(args, out),
        Command::Ledger(args) => control::ledger::run(args, out),
        Command::Vswitch(args) => control::vswitch::run(args, out),
        Command::Drain(args) => control::drain::run(args, out),
        Command::Audit(args) => control::audit::run(args, out),
        Command::Backup(args) => control::store::backup(args, out),
        Command::Restore(args) => control::store::restore(args, out),
        Command::Db(args) => control::store::db(args, out),
        Command::SupportBundle(args) => control::support::run(args, out),
        Command::Completions(args) => generate::completions(args, Cli::command(), out),
        Command::Man(args) => generate::man(args, Cli::command(), out),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_commands_of_the_manual_parse() {
        for line in [
            "demo --seconds 5 --json",
            "demo --rootless --rate 1000",
            "run --config box.toml",
            "check --config box.toml --json",
            "bench switch --json",
            "bench crypto",
            "bench links --vswitches 64 --idle 5 --noise --flood --json",
            "bench --json crypto --alone --rounds 3",
            "traffic --config box.toml --at west=eth5 --at east=eth6@other --sizes imix --backend live",
            "traffic --scenario s.toml --at west=eth5 --forged 300 --json",
            "traffic --config box.toml --print-scenario",
            "show ports --json",
            "show ports --port west --interval 1",
            "show --json vifs --vswitch red",
            "show drops --reason policy",
            "show spec",
            "show spec --secrets --json",
            "top --interval 0.5",
            "trace --vif red:2 --reason policy --count 3",
            "trace --label 0000.0000.0000.0013 --json",
            "capture --port west -w west.pcapng --snap-len 96 --rate 100",
            "explain 13 --vswitch red --config box.toml --json",
            "ping 13 --vswitch red -c 2 --json",
            "ping 0000.0000.0000.0013 --vswitch red --socket /tmp/s",
            "apply --spec spec.toml",
            "apply --config box.toml",
            "node announce status",
            "node announce status --vswitch red --json",
            "keys generate --json",
            "keys generate --to red.key",
            "keys generate --vswitch red",
            "keys import --from red.key --vswitch red",
            "keys import",
            "keys list --json",
            "peer add red --ethernet west --vlan 7 --peer 02:00:00:00:0e:00 --key lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k --login us --password-file p",
            "peer add red --udp west --credentials - --local 192.0.2.1:4000 --handshake noise --role peer --number 9 --json",
            "peer accept red --user alice",
            "peer accept red --user alice --ethernet west --beacon send --only fc00::1 --role provider",
            "peer accept red --user alice --udp west --local [2001:db8::1]:4000 --new-password",
            "peer credentials red --user alice --json",
            "peer remove red 5",
            "peer remove red lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k",
            "peer remove red --user alice",
            "keys remove lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k",
            "status --control https://box.example:8443 --ca ca.pem --token-file t",
            "configure --control /tmp/control.sock",
            "config show vswitch.red --candidate --json",
            "config set vswitch.red.vif.2.mtu 1400",
            "config set vswitch.red.login.bob.password --from -",
            "config commit --confirmed 5m --comment x",
            "config apply box.toml --check --json",
            "config rollback 3",
            "tenant show red",
            "token new ci --role operator --expires +90d --to token",
            "token new red-1 --role tenant --tenant red --vswitch one",
            "lease list --ended",
            "lease quote west out 10Mbit/s --for 30d --unit PKT",
            "lease buy west out 10Mbit/s --from +1h --until 2027-01-31 --tenant red --unit PKT --most 5",
            "lease offer west in 10Mbit/s --for 1d --open-until +1h",
            "lease sell 3 --tenant red --unit PKT",
            "lease renew 3 --for 30d",
            "lease bind 3 --vswitch one --vif 2 --vif 3 --ceiling 20Mbit/s",
            "lease split 3 --rate 1Mbit/s",
            "lease hand-over 3 blue",
            "lease revoke 3",
            "lease calendar west out --until +7d",
            "ledger statement 5 --csv",
            "ledger deposit red 12.5 --unit PKT --reference tx1",
            "ledger invoice red --unit PKT --from 2027-01-01 --until 2027-02-01",
            "audit --limit 5 --json",
            "drain west --off",
            "backup",
            "restore backup.db --database control.db",
            "db check --file control.db",
            "support-bundle out.tar.gz",
            "vswitch export red --to red.toml --secrets",
            "vswitch import red.toml --tenant blue --name blue-1",
            "completions bash",
            "man man1",
        ] {
            let words = std::iter::once("switchyard").chain(line.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "run",
            "traffic --at west=eth5",
            "traffic --config box.toml",
            "demo --rate 0",
            "bench",
            "bench crypto --rounds 3",
            "ping 13",
            "ping 13zz --vswitch red",
            "trace --reason nonsense",
            "trace --vif red",
            "show drops --port west --vswitch red",
            "apply",
            "apply --spec a --config b",
            "keys",
            "keys generate --to red.key --vswitch red",
            "keys import 362fdea918cefe8849a0464237a7e012da74165e32e4f6edb1ab5bc56050753c",
            "keys remove red",
            "peer",
            "peer add red --credentials -",
            "peer add red --ethernet west --udp west --credentials -",
            "peer add red --ethernet west --peer 02:00:00:00:0e:00",
            "peer add red --ethernet west --credentials - --login us",
            "peer accept red",
            "peer accept red --user alice --udp west --beacon send",
            "peer remove red",
            "peer remove red 5 --user alice",
            "peer remove red alice",
            "capture --port west --rate 0",
            "config set vswitch.red.vif.2.mtu",
            "config set a..b 5",
            "status --control http://box:1",
            "status --token swy_1_x",
            "token new x --role tenant",
            "token new x --role owner --vswitch one",
            "lease quote west out 10 --for 30d --unit PKT",
            "lease renew 3",
            "lease split 3 --rate 1Mbit/s --at now",
            "ledger statement 5 --csv --json",
            "drain --off",
            "vswitch export red --secrets",
            "completions cmd",
        ] {
            let words = std::iter::once("switchyard").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let broken =
            anyhow::Error::from(std::io::Error::from(ErrorKind::BrokenPipe)).context("printing");
        assert!(is_broken_pipe(&broken));
        assert!(!is_broken_pipe(&anyhow::anyhow!("else")));
    }
}
