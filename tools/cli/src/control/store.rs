//! `backup`, `restore`, `db check`: what control remembers.

use super::ControlArgs;
use super::list::{items_at, str_at, text};
use super::now;
use crate::output::{Exit, print_json};
use ::store::Store;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use nix::fcntl::{FcntlArg, fcntl};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

/// Byte of the file beside a database by which SQLite knows that another process has it open (its "dead man switch":
/// wal-index locks begin at 120, this is the one behind the last of 8).
const IN_USE_BYTE: i64 = 128;

/// Copy all that control remembers into a file of the box's directory for backups
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// Name of the file; else one with the time in it
    name: Option<String>,
    #[command(flatten)]
    control: ControlArgs,
}

/// Make control remember what a backup holds; control must not run
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Control's database; what it is now is kept beside it
    #[arg(long, value_name = "FILE", default_value = "/var/lib/switchyard/control.db")]
    database: PathBuf,
    #[command(flatten)]
    control: ControlArgs,
}

/// Look after what control remembers
#[derive(Args, Debug)]
pub(crate) struct DbArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read all of it, and say what is wrong; exit code 1 if anything is
    Check {
        /// The database or a backup itself, without asking control
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Runs `backup`.
pub(crate) fn backup(args: &BackupArgs, out: &mut dyn Write) -> Result<()> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => usual_name(now()?)?,
    };
    let made = args.control.client()?.post(&["backups"], &json!({ "name": name }))?;
    args.control.print(out, &made, |made| format!("{}\n", str_at(made, "/path")))
}

/// `control-20270131T120000Z.db`
fn usual_name(now: u64) -> Result<String> {
    let at = Timestamp::from_second(i64::try_from(now / 1000)?)?;
    let plain: String = at.to_string().chars().filter(|c| !"-:".contains(*c)).collect();
    Ok(format!("control-{plain}.db"))
}

/// Runs `db`.
pub(crate) fn db(args: &DbArgs, out: &mut dyn Write) -> Result<()> {
    let What::Check { file } = &args.what;
    let checked = match file {
        Some(file) => json!({ "damage": damage(file)? }),
        None => args.control.client()?.post(&["db", "check"], &Value::Null)?,
    };
    let damage = items_at(&checked, "/damage");
    args.control.print(out, &checked, |_| {
        if damage.is_empty() {
            return "nothing is wrong\n".to_owned();
        }
        damage.iter().map(|damage| text(damage) + "\n").collect()
    })?;
    if damage.is_empty() { Ok(()) } else { Err(Exit(1).into()) }
}

fn damage(file: &Path) -> Result<Vec<String>> {
    let mut reader = ::store::Reader::open(file)?;
    Ok(reader.check()?.into_iter().map(|damage| damage.0).collect())
}

/// Runs `restore`.
pub(crate) fn restore(args: &RestoreArgs, out: &mut dyn Write) -> Result<()> {
    let RestoreArgs { file, database, control } = args;
    ensure!(!control.client()?.is_there(), "control runs: stop it first");
    let kept = restored(file, database)?;
    let done = json!({ "database": database, "kept": kept });
    if control.json() {
        return print_json(out, &done);
    }
    writeln!(out, "{} is what {} was", database.display(), file.display())?;
    if let Some(kept) = kept {
        writeln!(out, "what it was before is in {}", kept.display())?;
    }
    Ok(())
}

/// Puts a backup in the place of a database. What was there, if anything, is kept beside it: where.
fn restored(file: &Path, database: &Path) -> Result<Option<PathBuf>> {
    ensure!(
        !is_in_use(database)?,
        "{}: a process has it open; stop control first",
        database.display()
    );
    let fresh = beside(database, ".restoring");
    let prepared = prepare(file, &fresh, database);
    let swapped = prepared.and_then(|()| swap(&fresh, database));
    if swapped.is_err() {
        // What is half done is in nobody's way the next time.
        drop(fs::remove_file(&fresh));
    }
    swapped
}

/// Whether a process has a database open. SQLite keeps a lock as long as it has; this process has it not open.
fn is_in_use(database: &Path) -> Result<bool> {
    let index = beside(database, "-shm");
    let file = match OpenOptions::new().read(true).write(true).open(&index) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("opening {}", index.display())),
    };
    let mut lock = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK)?,
        l_whence: i16::try_from(libc::SEEK_SET)?,
        l_start: IN_USE_BYTE,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).context("asking for the database's lock")?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Copies a backup, brings it to this program's schema, and looks for damage.
fn prepare(file: &Path, fresh: &Path, database: &Path) -> Result<()> {
    let mut from = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(fresh);
    let mut to = made.with_context(|| format!("making {}", fresh.display()))?;
    std::io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).context("copying the backup")?;
    ensure!(to.metadata()?.len() > 0, "{} is empty", file.display());
    let store = Store::open(fresh).with_context(|| format!("{} is no backup", file.display()))?;
    let damage = store.reader()?.check()?;
    drop(store);
    if let Some(first) = damage.first() {
        bail!("{} is damaged, {} things in all: {}", file.display(), damage.len(), first.0);
    }
    if let Ok(there) = fs::metadata(database) {
        chown(fresh, Some(there.uid()), Some(there.gid()))
            .context("giving it to control's user")?;
    }
    Ok(())
}

/// Keeps what is there, and puts the fresh one in its place. A journal must never lie beside another database.
fn swap(fresh: &Path, database: &Path) -> Result<Option<PathBuf>> {
    let journal = beside(database, "-wal");
    let kept = if database.exists() {
        let kept = free(database)?;
        fs::hard_link(database, &kept).context("keeping what is there")?;
        if journal.exists() {
            fs::hard_link(&journal, beside(&kept, "-wal")).context("keeping its journal")?;
        }
        Some(kept)
    } else {
        None
    };
    sync_folder(database)?;
    for file in [journal, beside(database, "-shm")] {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", file.display()));
            }
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(fresh, database).context("putting the backup in its place")?;
    sync_folder(database)?;
    Ok(kept)
}

/// A name that is not taken: `control.db.before-1`, …
fn free(database: &Path) -> Result<PathBuf> {
    let names = (1..1000).map(|number| beside(database, &format!(".before-{number}")));
    let mut free = names.filter(|path| !path.exists());
    free.next().with_context(|| format!("too many are kept beside {}", database.display()))
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("syncing {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(path: &Path, who: &str) {
        let mut store = Store::open(path).unwrap();
        let entry = ::store::AuditEntry {
            at: 1,
            who: who.into(),
            tenant: None,
            action: "test".into(),
            subject: String::new(),
            detail: String::new(),
        };
        store.write(|tables| tables.audit(&entry)).unwrap();
    }

    fn who(path: &Path) -> String {
        let mut reader = ::store::Reader::open(path).unwrap();
        let records = reader.read(|tables| tables.audit_records(None, u64::MAX, 1)).unwrap();
        records[0].entry.who.clone()
    }

    #[test]
    fn a_backup_takes_the_place_and_what_was_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (backup, database) =
            (folder.path().join("backup.db"), folder.path().join("control.db"));
        store(&backup, "then");
        assert_eq!(restored(&backup, &database).unwrap(), None);
        assert_eq!(who(&database), "then");
        fs::remove_file(&database).unwrap();
        store(&database, "now");
        let kept = restored(&backup, &database).unwrap().unwrap();
        assert_eq!((who(&database).as_str(), who(&kept).as_str()), ("then", "now"));
        assert!(damage(&database).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_backup_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (backup, database) =
            (folder.path().join("backup.db"), folder.path().join("control.db"));
        store(&database, "now");
        for bytes in [&b""[..], &b"not a database at all, however long it may be"[..]] {
            fs::write(&backup, bytes).unwrap();
            assert!(restored(&backup, &database).is_err());
        }
        assert_eq!(who(&database), "now");
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("before") || name.contains("restoring"))
            .collect();
        assert_eq!(names, Vec::<String>::new());
    }

    #[test]
    fn the_usual_name_holds_the_time() {
        assert_eq!(usual_name(86_400_000).unwrap(), "control-19700102T000000Z.db");
    }
}
