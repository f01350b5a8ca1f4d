//! Secrets on their way in and out. They come from files and standard input, never from the command line, which every
//! user of the machine can read.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Most bytes that are read; the buffer never moves, so that no copy stays behind.
const LEN_MAX: usize = 64 << 10;
/// What a terminal sends for Ctrl-C.
const CTRL_C: u8 = 3;

/// The one line in a file, or, for `-`, on standard input. On a terminal it is asked for by `what`, and not echoed.
pub(crate) fn line(path: &Path, what: &str) -> Result<Zeroizing<String>> {
    let text = read(path, what)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    ensure!(!line.is_empty(), "{what}: {} holds none", name(path));
    ensure!(!line.contains(['\n', '\0']), "{what}: {} holds more than one line", name(path));
    Ok(Zeroizing::new(line.to_owned()))
}

/// All that is in a file, or, for `-`, on standard input.
pub(crate) fn text(path: &Path, what: &str) -> Result<Zeroizing<String>> {
    let mut file = open(path)?;
    if file.is_terminal() {
        writeln!(std::io::stderr(), "{what}, then Ctrl-D:")?;
    }
    read_until(&mut file, |_| false).with_context(|| format!("reading {}", name(path)))
}

/// Writes a secret into a new file that only its owner may read.
pub(crate) fn write_new(path: &Path, secret: &str) -> Result<()> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already, and is not overwritten", path.display())
        }
        Err(error) => return Err(error).with_context(|| format!("making {}", path.display())),
    };
    let written = file
        .write_all(secret.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a secret is of no use to anybody.
        drop(std::fs::remove_file(path));
    }
    written.with_context(|| format!("writing {}", path.display()))
}

fn read(path: &Path, what: &str) -> Result<Zeroizing<String>> {
    let mut file = open(path)?;
    if !file.is_terminal() {
        return read_until(&mut file, |_| false).with_context(|| format!("reading {}", name(path)));
    }
    let mut asked = std::io::stderr();
    write!(asked, "{what}: ")?;
    asked.flush()?;
    let terminal = file.try_clone()?;
    let silent = Silent::new(terminal.as_fd())?;
    let line = read_until(&mut file, |bytes| matches!(bytes.last(), Some(b'\n' | &CTRL_C)));
    drop(silent);
    writeln!(asked)?;
    let line = line?;
    ensure!(!line.contains(char::from(CTRL_C)), "{what}: interrupted");
    Ok(line)
}

fn open(path: &Path) -> Result<File> {
    if path == Path::new("-") {
        // Around the buffer of `std::io::stdin`, which would keep what was read.
        return Ok(File::from(std::io::stdin().as_fd().try_clone_to_owned()?));
    }
    File::open(path).with_context(|| format!("opening {}", path.display()))
}

fn read_until(file: &mut File, ends: impl Fn(&[u8]) -> bool) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(vec![0; LEN_MAX]);
    let mut len = 0;
    while len < LEN_MAX {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if ends(&bytes[..len]) {
            break;
        }
    }
    ensure!(len < LEN_MAX, "it is longer than {LEN_MAX} bytes");
    // The text is not repeated in the error.
    let text = std::str::from_utf8(&bytes[..len]).ok().context("it is not UTF-8 text")?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}

/// A terminal that does not echo, until this is dropped.
struct Silent<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: BorrowedFd<'a>) -> Result<Self> {
        let before = tcgetattr(terminal).context("asking the terminal how it is set")?;
        let mut silent = before.clone();
        // Ctrl-C ends the line, not the program, which would leave the terminal silent.
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
        silent.control_chars[SpecialCharacterIndices::VEOL as usize] = CTRL_C;
        tcsetattr(terminal, SetArg::TCSAFLUSH, &silent).context("making the terminal silent")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _gone = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_one_line_of_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (text, found) in
            [("hunter2", Some("hunter2")), (" a b\r\n", Some(" a b")), ("", None), ("a\nb\n", None)]
        {
            std::fs::write(&path, text).unwrap();
            let read = line(&path, "password").ok();
            assert_eq!(read.as_ref().map(|line| line.as_str()), found, "{text:?}");
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        let error = format!("{:#}", line(&path, "password").unwrap_err());
        assert!(error.contains("not UTF-8") && error.contains("secret"), "{error}");
        std::fs::write(&path, vec![b'a'; LEN_MAX]).unwrap();
        assert!(line(&path, "password").is_err());
    }

    #[test]
    fn a_file_with_a_secret_is_its_owners_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_new(&path, "00ff").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = write_new(&path, "other").unwrap_err().to_string();
        assert!(error.contains("not overwritten"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "00ff\n");
    }
}
