//! `support-bundle`: what somebody needs who shall help, in one file, and no secret in it. It is made also while control or
//! the dataplane is away: what cannot be had is named in it.

mod redact;

use super::client::{Client, Request};
use super::{ControlArgs, now};
use anyhow::{Context, Result, bail};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use redact::{redacted, redacted_text};
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tar::{Builder, Header};

/// Most of a log that is taken, bytes.
const LOG_LEN_MAX: u64 = 8 << 20;
/// Lines of a log that are asked for.
const LOG_LINES: &str = "5000";
/// Our units, as systemd knows them.
const UNITS: [&str; 2] = ["switchyard-control", "switchyard-dataplane"];
/// What is asked of control: name of the file, path, and most items if it is a list.
const PARTS: [(&str, &[&str], Option<u32>); 15] = [
    ("status.json", &["status"], None),
    ("whoami.json", &["whoami"], None),
    ("config.json", &["config"], None),
    ("history.json", &["config", "history"], Some(50)),
    ("audit.json", &["audit"], Some(200)),
    ("tenants.json", &["tenants"], Some(5000)),
    ("drains.json", &["drains"], None),
    ("leases.json", &["leases"], Some(5000)),
    ("workers.json", &["live", "workers"], None),
    ("ports.json", &["live", "ports"], Some(1000)),
    ("rates.json", &["live", "rates"], None),
    ("vswitches.json", &["live", "vswitches"], Some(5000)),
    ("vifs.json", &["live", "vifs"], Some(5000)),
    ("links.json", &["live", "links"], Some(5000)),
    ("drops.json", &["live", "drops"], Some(5000)),
];

/// Write what somebody needs who shall help into one file: no password, key or token is in it
#[derive(Args, Debug)]
pub(crate) struct BundleArgs {
    /// New file (tar.gz)
    #[arg(default_value = "switchyard-support.tar.gz")]
    file: PathBuf,
    #[command(flatten)]
    control: ControlArgs,
}

/// A file of the bundle.
struct Part {
    name: &'static str,
    /// Or why it cannot be had.
    content: Result<String>,
}

/// Runs the command.
pub(crate) fn run(args: &BundleArgs, out: &mut dyn Write) -> Result<()> {
    let (client, path) = (args.control.client()?, &args.file);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.with_context(|| format!("making {}", path.display()))?;
    let parts = gather(&client);
    let missing = pack(parts, now()? / 1000, &mut file).and_then(|missing| {
        file.sync_all()?;
        Ok(missing)
    });
    let missing = missing.with_context(|| format!("writing {}", path.display()))?;
    let done = json!({ "path": path, "missing": missing });
    args.control.print(out, &done, |_| {
        let names = missing.iter().map(|line| format!("missing: {line}\n"));
        format!("{}\n{}", path.display(), names.collect::<String>())
    })
}

fn gather(client: &Client) -> Vec<Part> {
    let mut parts = vec![Part { name: "machine.txt", content: machine() }];
    for (name, path, most) in PARTS {
        parts.push(Part { name, content: asked(client, path, most) });
    }
    parts.push(Part { name: "log.txt", content: log() });
    parts
}

fn asked(client: &Client, path: &[&str], most: Option<u32>) -> Result<String> {
    let value = match most {
        Some(most) => super::list::all(client, || Request::get(path), Some(most))?,
        None => client.get(path)?,
    };
    Ok(serde_json::to_string_pretty(&redacted(value))?)
}

/// What runs here, and on what.
fn machine() -> Result<String> {
    let system = nix::sys::utsname::uname()?;
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "switchyard {}\nsystem {}\nkernel {} {}\ncores {cores}\n",
        env!("CARGO_PKG_VERSION"),
        name.unwrap_or("unknown"),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy(),
    ))
}

/// The last lines of both processes, from journald.
fn log() -> Result<String> {
    let mut command = Command::new("journalctl");
    command.args(["--no-pager", "--quiet", "--output=short-iso", "--lines", LOG_LINES]);
    command.args(UNITS.map(|unit| format!("--unit={unit}")));
    command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("starting journalctl")?;
    let mut text = Vec::new();
    let output = child.stdout.take().context("journalctl says nothing")?;
    let read = output.take(LOG_LEN_MAX).read_to_end(&mut text);
    // It may have more to say than is taken, and waits then.
    let _ended = child.kill();
    child.wait()?;
    read?;
    if text.is_empty() {
        bail!("journald has no lines of {}", UNITS.join(" or "));
    }
    Ok(redacted_text(&String::from_utf8_lossy(&text)))
}

/// Writes the archive; what could not be had, and why.
fn pack(parts: Vec<Part>, at: u64, into: impl Write) -> Result<Vec<String>> {
    let mut archive = Builder::new(GzEncoder::new(into, Compression::default()));
    let mut missing = Vec::new();
    for Part { name, content } in parts {
        match content {
            Ok(text) => append(&mut archive, name, at, text.as_bytes())?,
            Err(error) => missing.push(redacted_text(&format!("{name}: {error:#}"))),
        }
    }
    if !missing.is_empty() {
        append(&mut archive, "missing.txt", at, (missing.join("\n") + "\n").as_bytes())?;
    }
    archive.into_inner()?.finish()?;
    Ok(missing)
}

fn append(archive: &mut Builder<impl Write>, name: &str, at: u64, content: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(u64::try_from(content.len())?);
    header.set_mode(0o600);
    header.set_mtime(at);
    Ok(archive.append_data(&mut header, format!("switchyard-support/{name}"), content)?)
}

/// The files of an archive, for the tests.
#[cfg(test)]
fn unpacked(bytes: &[u8]) -> std::collections::BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let mut files = std::collections::BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name, text);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_named() {
        let parts = vec![
            Part { name: "a.txt", content: Ok("something".into()) },
            Part { name: "b.txt", content: Err(anyhow::anyhow!("away: Bearer swy_1_ABCDEFGH")) },
        ];
        let mut bytes = Vec::new();
        let missing = pack(parts, 0, &mut bytes).unwrap();
        assert_eq!(missing.len(), 1);
        let files = unpacked(&bytes);
        assert_eq!(files["a.txt"], "something");
        assert!(files["missing.txt"].starts_with("b.txt: away"), "{files:?}");
        assert!(!files["missing.txt"].contains("ABCDEFGH"), "{files:?}");
    }

    #[test]
    fn the_machine_is_described() {
        let text = machine().unwrap();
        assert!(text.contains("switchyard ") && text.contains("kernel "), "{text}");
    }
}
