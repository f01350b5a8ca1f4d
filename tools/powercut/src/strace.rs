//! A program under strace, and its report as [`Event`]s.
//!
//! The program is one process with any number of threads. Every system call that changes a file is asked for; a call on a watched file that is not understood is an error,
//! not a gap.

use crate::{Event, FileId};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Calls that are recorded. Reading changes nothing; memory that is mapped is what a program may lose.
const CALLS: &str = "trace=open,openat,creat,close,dup,dup2,dup3,fcntl,write,writev,pwrite64,pwritev,pwritev2,lseek,\
                     truncate,ftruncate,fallocate,fsync,fdatasync,sync_file_range,syncfs,rename,renameat,renameat2,\
                     link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,copy_file_range,sendfile,splice";
/// Longest string that is reported, bytes.
const STRING_MAX: &str = "16777216";

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// strace, or a file.
    #[error("strace: {0}")]
    Io(#[from] std::io::Error),
    /// The program did not end well.
    #[error("the program under strace ended with {0}")]
    Failed(String),
    /// A line that is not understood.
    #[error("strace says what is not understood: {0}")]
    Line(String),
}

/// Runs a program to its end, and returns what it asked of the kernel about files below `directory`, which is empty at
/// first, in order.
///
/// # Errors
/// [`TraceError`].
pub fn record(program: &mut Command, directory: &Path) -> Result<Vec<Event>, TraceError> {
    let directory = directory.canonicalize()?;
    let report = directory.with_extension("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-xx", "-s", STRING_MAX, "-e", CALLS, "-o"]).arg(&report).arg("--");
    strace.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    let output = strace.output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(TraceError::Failed(format!("{}: {text}", output.status)));
    }
    let mut reader = Reader { directory, ..Reader::default() };
    for line in BufReader::new(fs::File::open(&report)?).lines() {
        reader.line(&line?)?;
    }
    fs::remove_file(&report)?;
    Ok(reader.events)
}

/// Whether strace is there and may trace.
#[must_use]
pub fn is_available() -> bool {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}

#[derive(Debug, Default)]
struct Reader {
    directory: PathBuf,
    events: Vec<Event>,
    /// Calls that another thread interrupted, by thread.
    begun: BTreeMap<String, String>,
    open: BTreeMap<i64, Open>,
    names: BTreeMap<PathBuf, FileId>,
    lengths: Vec<u64>,
    descriptions: Vec<Description>,
    /// What was said on standard output since the last line break.
    said: String,
}

#[derive(Clone, Debug)]
enum Open {
    /// Copies of a descriptor share one.
    File(usize),
    Directory(PathBuf),
}

/// An open file, as the kernel has it.
#[derive(Clone, Copy, Debug)]
struct Description {
    id: FileId,
    offset: u64,
    appends: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), TraceError> {
        let bad = || TraceError::Line(line.chars().take(300).collect());
        let (thread, text) = line.split_once(char::is_whitespace).ok_or_else(bad)?;
        let text = text.trim_start();
        if text.starts_with("+++") || text.starts_with("---") {
            return Ok(());
        }
        if let Some(begin) = text.strip_suffix("<unfinished ...>") {
            self.begun.insert(thread.to_owned(), begin.trim_end().to_owned());
            return Ok(());
        }
        let joined = match text.strip_prefix("<... ") {
            Some(rest) => {
                let (_, end) = rest.split_once(" resumed>").ok_or_else(bad)?;
                format!("{}{end}", self.begun.remove(thread).ok_or_else(bad)?)
            }
            None => text.to_owned(),
        };
        let (name, rest) = joined.split_once('(').ok_or_else(bad)?;
        let (arguments, result) =
            rest.rsplit_once(") = ").or_else(|| rest.rsplit_once("= ")).ok_or_else(bad)?;
        let result = result.split_whitespace().next().ok_or_else(bad)?;
        let arguments = split(arguments.trim_end().trim_end_matches(')'));
        // A call that a kill cut short, or that failed, changed nothing.
        let Some(result) = result.parse::<i64>().ok().filter(|result| *result >= 0) else {
            return Ok(());
        };
        self.call(name, &arguments, result).ok_or_else(bad)
    }

    /// `None`: it is not understood.
    fn call(&mut self, name: &str, arguments: &[String], result: i64) -> Option<()> {
        let argument = |index: usize| arguments.get(index).map(String::as_str);
        let number = |index: usize| argument(index)?.parse::<i64>().ok();
        match name {
            "open" | "creat" => {
                self.opened(argument(0)?, argument(1).unwrap_or("O_CREAT|O_TRUNC"), result)
            }
            "openat" => self.opened(argument(1)?, argument(2)?, result),
            "close" => {
                self.open.remove(&number(0)?);
                Some(())
            }
            "fcntl" if !argument(1)?.starts_with("F_DUPFD") => Some(()),
            "dup" | "dup2" | "dup3" | "fcntl" => {
                match self.open.get(&number(0)?).cloned() {
                    Some(open) => self.open.insert(result, open),
                    None => self.open.remove(&result),
                };
                Some(())
            }
            "lseek" => {
                if let Some(Open::File(at)) = self.open.get(&number(0)?) {
                    self.descriptions.get_mut(*at)?.offset = u64::try_from(result).ok()?;
                }
                Some(())
            }
            "write" => self.wrote(number(0)?, None, bytes(argument(1)?)?, result),
            "pwrite64" => self.wrote(
                number(0)?,
                Some(u64::try_from(number(3)?).ok()?),
                bytes(argument(1)?)?,
                result,
            ),
            "writev" => self.wrote(number(0)?, None, vector(argument(1)?)?, result),
            "pwritev" | "pwritev2" => self.wrote(
                number(0)?,
                Some(u64::try_from(number(3)?).ok()?),
                vector(argument(1)?)?,
                result,
            ),
            "ftruncate" => self.resized(number(0)?, u64::try_from(number(1)?).ok()?),
            "fallocate" => {
                let end = u64::try_from(number(2)?.checked_add(number(3)?)?).ok()?;
                match self.open.get(&number(0)?) {
                    Some(Open::File(at)) if argument(1)? == "0" => {
                        let len = self.lengths.get(self.descriptions.get(*at)?.id.0)?;
                        if end > *len { self.resized(number(0)?, end) } else { Some(()) }
                    }
                    Some(_) => None,
                    None => Some(()),
                }
            }
            "fsync" | "fdatasync" => {
                match self.open.get(&number(0)?) {
                    Some(Open::File(at)) => {
                        self.events.push(Event::SyncFile(self.descriptions.get(*at)?.id));
                    }
                    Some(Open::Directory(path)) => self.events.push(Event::SyncNames(path.clone())),
                    None => {}
                }
                Some(())
            }
            // It promises nothing.
            "sync_file_range" => Some(()),
            "rename" => self.renamed(argument(0)?, argument(1)?),
            "renameat" | "renameat2" => self.renamed(argument(1)?, argument(3)?),
            "link" => self.linked(argument(0)?, argument(1)?),
            "linkat" => self.linked(argument(1)?, argument(3)?),
            "unlink" | "rmdir" => self.removed(argument(0)?),
            "unlinkat" => self.removed(argument(1)?),
            "mkdir" => self.made(argument(0)?),
            "mkdirat" => self.made(argument(1)?),
            "truncate" => self.watched(argument(0)?).is_none().then_some(()),
            "syncfs" | "copy_file_range" | "sendfile" | "splice" => {
                let is_watched = (0..arguments.len())
                    .any(|index| number(index).is_some_and(|fd| self.open.contains_key(&fd)));
                (!is_watched).then_some(())
            }
            _ => None,
        }
    }

    fn opened(&mut self, path: &str, flags: &str, fd: i64) -> Option<()> {
        self.open.remove(&fd);
        let Some(path) = self.watched(path) else { return Some(()) };
        let has = |flag: &str| flags.split('|').any(|there| there == flag);
        let is_directory = has("O_DIRECTORY") || self.directory.join(&path).is_dir();
        if is_directory {
            self.open.insert(fd, Open::Directory(path));
            return Some(());
        }
        let id = match self.names.get(&path) {
            Some(id) => *id,
            None if has("O_CREAT") => {
                let id = FileId(self.lengths.len());
                self.lengths.push(0);
                self.names.insert(path.clone(), id);
                self.events.push(Event::Create(path, id));
                id
            }
            // The directory was to be empty.
            None => return None,
        };
        self.open.insert(fd, Open::File(self.descriptions.len()));
        self.descriptions.push(Description { id, offset: 0, appends: has("O_APPEND") });
        if has("O_TRUNC") { self.resized(fd, 0) } else { Some(()) }
    }

    fn wrote(&mut self, fd: i64, at: Option<u64>, mut bytes: Vec<u8>, result: i64) -> Option<()> {
        let written = usize::try_from(result).ok()?;
        match self.open.get(&fd) {
            Some(Open::File(open)) => {
                if bytes.len() < written {
                    return None;
                }
                bytes.truncate(written);
                let Description { id, offset, appends } = self.descriptions.get_mut(*open)?;
                let len = self.lengths.get_mut(id.0)?;
                let start = at.unwrap_or(if *appends { *len } else { *offset });
                let end = start + bytes.len() as u64;
                // A write at a place of its own leaves the offset.
                *offset = if at.is_none() { end } else { *offset };
                *len = (*len).max(end);
                self.events.push(Event::Write(*id, start, bytes));
            }
            Some(Open::Directory(_)) => return None,
            None if fd == 1 => {
                self.said.push_str(&String::from_utf8_lossy(&bytes));
                while let Some((line, rest)) = self.said.split_once('\n') {
                    if let Some(what) = line.strip_prefix("ack ") {
                        self.events.push(Event::Acknowledged(what.to_owned()));
                    }
                    self.said = rest.to_owned();
                }
            }
            None => {}
        }
        Some(())
    }

    fn resized(&mut self, fd: i64, len: u64) -> Option<()> {
        if let Some(Open::File(at)) = self.open.get(&fd) {
            let id = self.descriptions.get(*at)?.id;
            *self.lengths.get_mut(id.0)? = len;
            self.events.push(Event::Resize(id, len));
        }
        Some(())
    }

    fn renamed(&mut self, from: &str, to: &str) -> Option<()> {
        match (self.watched(from), self.watched(to)) {
            (Some(from), Some(to)) => {
                let id = self.names.remove(&from)?;
                self.names.insert(to.clone(), id);
                self.events.push(Event::Rename(from, to));
                Some(())
            }
            (None, None) => Some(()),
            (Some(_), None) | (None, Some(_)) => None,
        }
    }

    fn linked(&mut self, from: &str, to: &str) -> Option<()> {
        match (self.watched(from), self.watched(to)) {
            (Some(from), Some(to)) => {
                let id = *self.names.get(&from)?;
                self.names.insert(to.clone(), id);
                self.events.push(Event::Link(from, to));
                Some(())
            }
            (None, None) => Some(()),
            (Some(_), None) | (None, Some(_)) => None,
        }
    }

    fn removed(&mut self, path: &str) -> Option<()> {
        if let Some(path) = self.watched(path) {
            self.names.remove(&path);
            self.events.push(Event::Remove(path));
        }
        Some(())
    }

    fn made(&mut self, path: &str) -> Option<()> {
        if let Some(path) = self.watched(path) {
            self.events.push(Event::Mkdir(path));
        }
        Some(())
    }

    /// The path below the watched directory, if it is one.
    fn watched(&self, argument: &str) -> Option<PathBuf> {
        let path = PathBuf::from(String::from_utf8(bytes(argument)?).ok()?);
        let below = path.strip_prefix(&self.directory).ok()?;
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        below.components().all(is_plain).then(|| below.to_owned())
    }
}

/// Arguments, as they stand between commas outside of quotes and brackets.
fn split(text: &str) -> Vec<String> {
    let (mut arguments, mut depth, mut quoted) = (vec![String::new()], 0_usize, false);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = arguments.last_mut() {
            last.push(character);
        }
    }
    arguments.iter().map(|argument| argument.trim().to_owned()).collect()
}

/// A string of `\xhh`, whole.
fn bytes(argument: &str) -> Option<Vec<u8>> {
    let digits = argument.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(digits.len() / 4);
    for byte in digits.as_bytes().chunks(4) {
        let hex = std::str::from_utf8(byte.strip_prefix(b"\\x")?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
    }
    Some(bytes)
}

/// `[{iov_base="\x..", iov_len=n}, …]`, one after the other.
fn vector(argument: &str) -> Option<Vec<u8>> {
    let inner = argument.strip_prefix('[')?.strip_suffix(']')?;
    let mut all = Vec::new();
    for part in split(inner) {
        let base = part.strip_prefix("{iov_base=")?.split_once(", iov_len=")?.0.to_owned();
        all.extend(bytes(&base)?);
    }
    Some(all)
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "what is skipped is said")]
mod tests {
    use super::*;

    #[test]
    fn a_real_program_is_followed() {
        if !is_available() {
            println!("SKIPPED: strace may not trace here");
            return;
        }
        let above = tempfile::tempdir().unwrap();
        let directory = above.path().join("watched");
        fs::create_dir(&directory).unwrap();
        let script = "cd /; echo one > $D/a; printf two >> $D/a; sync $D/a; mv $D/a $D/b; sync $D; echo ack 1; rm $D/b";
        let mut program = Command::new("sh");
        program.args(["-c", script]).env("D", &directory);
        let events = record(&mut program, &directory);
        let id = FileId(0);
        let (a, b): (PathBuf, PathBuf) = ("a".into(), "b".into());
        let expected = [
            Event::Create(a.clone(), id),
            Event::Resize(id, 0),
            Event::Write(id, 0, b"one\n".to_vec()),
            Event::Write(id, 4, b"two".to_vec()),
            Event::SyncFile(id),
            Event::Rename(a, b.clone()),
            Event::SyncNames("".into()),
            Event::Acknowledged("1".into()),
            Event::Remove(b),
        ];
        assert_eq!(events.unwrap(), expected);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let mut reader = Reader { directory: "/d".into(), ..Reader::default() };
        let open = r#"7 openat(AT_FDCWD, "\x2f\x64\x2f\x61", O_RDWR|O_CREAT, 0600) = 3"#;
        reader.line(open).unwrap();
        reader.line("7 pwrite64(3, \"\\x41\\x42\", 2, 5 <unfinished ...>").unwrap();
        reader.line("8 write(1, \"\\x61\\x63\\x6b\\x20\\x39\\x0a\", 6) = 6").unwrap();
        reader.line("7 <... pwrite64 resumed>) = 1").unwrap();
        reader.line(r#"7 writev(3, [{iov_base="\x43", iov_len=1}, {iov_base="\x2c\x44", iov_len=2}], 2) = 3"#).unwrap();
        let id = FileId(0);
        let expected = [
            Event::Create("a".into(), id),
            Event::Acknowledged("9".into()),
            Event::Write(id, 5, b"A".to_vec()),
            Event::Write(id, 0, b"C,D".to_vec()),
        ];
        assert_eq!(reader.events, expected);
        for line in [
            "7 sendfile(3, 9, NULL, 5) = 5",
            "7 write(3, \"\\x41\"..., 9) = 9",
            "7 openat(AT_FDCWD, \"\\x2f\\x64\\x2f\\x7a\", O_RDWR) = 5",
            "7 vmsplice(3) = 1",
            "nonsense",
        ] {
            assert!(reader.line(line).is_err(), "{line}");
        }
        reader.line("7 dup(3) = -1 EBADF (Bad file descriptor)").unwrap();
        reader.line("7 write(3, \"\\x41\", 1) = ? <unavailable>").unwrap();
    }
}
