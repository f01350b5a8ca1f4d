//! The commands that control answers, as a person or a script gives them, against the API over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::tests_outside_test_module,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

mod server;

use nix::pty::openpty;
use serde_json::Value;
use server::{Server, market};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};

/// Instants before 2030 are those of the run.
fn without_now(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("20") {
        let (before, here) = rest.split_at(at);
        shown.push_str(before);
        let is_instant = here.get(..20).is_some_and(|it| {
            it.ends_with('Z') && it.get(4..5) == Some("-") && it.get(10..11) == Some(" ")
        });
        let taken = if is_instant && here < "2030" { 20 } else { 2 };
        shown.push_str(if taken == 20 { "NOW" } else { "20" });
        rest = &here[taken..];
    }
    shown + rest
}

#[test]
fn a_lease_is_sold_and_used() {
    let server = Server::with_market();
    let slot = ["--from", "2035-01-01", "--until", "2035-01-02"];
    let ask = |words: &[&'static str]| words.iter().chain(&slot).copied().collect::<Vec<_>>();
    let quote = server.ok(&ask(&["lease", "quote", "west", "out", "8Mbit/s", "--unit", "PKT"]));
    // 86 400 s of 1000 kB/s at 1/2^30 PKT each.
    let expected = "\
price  from                  until                 amount
west   2035-01-01 00:00:00Z  2035-01-02 00:00:00Z  0.08046627044677734375 PKT
";
    assert!(quote.starts_with("total       0.08046627044677734375 PKT\nburst "), "{quote}");
    assert!(quote.ends_with(expected), "{quote}");

    let buy = ask(&["lease", "buy", "west", "out", "8Mbit/s", "--tenant", "red", "--unit", "PKT"]);
    let (code, poor) = server.refused(&buy, "");
    assert_eq!(code, 1, "{poor}");
    let deposit = ["ledger", "deposit", "red", "2.5", "--unit", "PKT", "--reference", "tx1"];
    assert_eq!(server.ok(&deposit), "red has 2.5 PKT\n");
    assert_eq!(server.ok(&deposit), "red has 2.5 PKT\n", "the same reference counts once");
    let dear = [&buy[..], &["--most", "0.0625"]].concat();
    assert!(server.refused(&dear, "").1.contains("price"));
    let bought = server.ok(&[&buy[..], &["--most", "0.125"]].concat());
    for line in
        ["state        sold", "rate         8Mbit/s", "paid         0.08046627044677734375 PKT"]
    {
        assert!(bought.contains(line), "{bought}");
    }
    let bound = server.ok(&["lease", "bind", "1", "--vswitch", "one", "--vif", "2"]);
    assert!(bound.contains("state        bound") && bound.contains("vifs         2\n"), "{bound}");
    let expected = "\
lease  state  owner  port  way     rate  from                  until
    1  bound  red    west  out  8Mbit/s  2035-01-01 00:00:00Z  2035-01-02 00:00:00Z
";
    assert_eq!(server.ok(&["lease", "list"]), expected);
    let json: Value = serde_json::from_str(&server.ok(&["lease", "show", "1", "--json"])).unwrap();
    assert_eq!(
        (&json["bytes_per_s"], &json["start"]),
        (&1_000_000.into(), &2_051_222_400_000_u64.into())
    );
    let free = server.ok(&["lease", "calendar", "west", "out", "--from", "2034-12-31"]);
    assert!(free.contains("2035-01-01 00:00:00Z") && free.contains("Mbit/s"), "{free}");

    let accounts = server.ok(&["ledger", "accounts"]);
    assert!(accounts.contains("2.41953372955322265625 PKT"), "{accounts}");
    let account = accounts.lines().find(|line| line.contains("tenant") && line.contains("red"));
    let account = account.unwrap().split(' ').next().unwrap();
    let csv = server.ok(&["ledger", "statement", account, "--csv"]);
    assert_eq!(csv.lines().count(), 5, "head, opening, two lines, closing: {csv}");
    let statement = server.ok(&["ledger", "statement", account]);
    assert!(statement.contains("closing 2.41953372955322265625 PKT"), "{statement}");
    let records = server.ok(&["ledger", "records"]);
    assert!(records.contains("deposit") && records.contains("2684354560"), "{records}");

    let drained = server.ok(&["drain", "west"]);
    assert!(
        drained.starts_with("port west is being emptied\nlease  until\n1      2035-01-02"),
        "{drained}"
    );
    assert_eq!(server.ok(&["drain"]), "kind  name\nport  west\n");
    assert!(server.ok(&["drain", "west", "--off"]).starts_with("port west takes what comes\n"));
    assert!(server.ok(&["lease", "revoke", "1"]).starts_with("lease 1 ends; given back: "));
    let audit = server.ok(&["audit", "--limit", "3"]);
    assert!(audit.contains("lease.end") && audit.lines().count() == 4, "{audit}");
}

#[test]
fn the_configuration_is_changed_by_a_script() {
    let server = Server::with_market();
    let script = "\
# a link changes its role
edit vswitch.one
set vif.2.role peer
set vif.3.mtu 1400
top
set port.west.lease.grace_ms 2h
diff
validate
commit --confirmed 5m --comment \"roles\"
confirm
show port.west.lease.grace_ms
exit
set box.name never
";
    let expected = "\
~ port.west.lease.grace_ms = 3600000 -> 7200000
~ vswitch.one.vif.2.role = \"customer\" -> \"peer\"
+ vswitch.one.vif.3.mtu = 1400
the candidate is in order
commit 2 runs, generation 2
it goes back at NOW unless you confirm it
commit 2 stays
";
    let shown = without_now(&server.fed(&["configure"], script));
    for line in expected.lines() {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(
        shown.contains("~ port.west.lease.grace_ms = ") && shown.ends_with("7200000\n"),
        "{shown}"
    );
    let history = server.ok(&["config", "history"]);
    assert!(history.contains("roles") && history.contains("begin"), "{history}");
    assert!(server.ok(&["config", "diff", "2"]).contains("vif.2.role"));
    assert!(server.ok(&["config", "rollback", "1"]).starts_with("commit 3 runs"));
    assert!(!server.ok(&["config", "show", "vswitch.one.vif.2"]).contains("role = \"peer\""));
}

#[test]
fn what_is_refused_says_where_and_what_would_do() {
    let server = Server::with_market();
    server.ok(&["config", "set", "vswitch.one.vif.3.mtu", "20"]);
    let (code, found) = server.refused(&["config", "validate"], "");
    assert_eq!(code, 1);
    assert!(found.starts_with("vswitch.one.vif.3") && found.contains("; expected "), "{found}");
    assert!(!found.contains("switchyard:"), "what was printed is not said again: {found}");
    let (_, found) = server.refused(&["config", "commit"], "");
    assert!(found.starts_with("switchyard: vswitch.one.vif.3"), "{found}");
    assert_eq!(server.ok(&["config", "discard"]), "the candidate is what runs\n");
    let (_, found) = server.refused(&["config", "set", "vswitch.one.vif.3.mtu", "wide"], "");
    assert!(found.contains("vswitch.one.vif.3") && found.contains("expected"), "{found}");
    let (_, found) =
        server.refused(&["configure"], "set box.name south\nsett x\nset box.name never\n");
    assert!(found.contains("line 2: sett: expected one of "), "{found}");
    assert!(server.ok(&["config", "show", "box", "--candidate"]).contains("south"));
    let (_, found) = server.refused(&["tenant", "show", "nobody"], "");
    assert!(found.contains("nobody"), "{found}");
    let away = ["status", "--control", "/nowhere/control.sock"];
    assert!(server.refused(&away, "").1.contains("/nowhere/control.sock"));
}

#[test]
fn a_file_is_applied_once() {
    let server = Server::start();
    let file = server.path("box.toml");
    std::fs::write(&file, market()).unwrap();
    let file = file.to_str().unwrap();
    let (code, found) = server.refused(&["config", "apply", file, "--check"], "");
    assert_eq!(code, 3, "{found}");
    assert!(found.contains("+ tenant.red") && !found.contains("planted-friend"), "{found}");
    assert!(server.ok(&["config", "apply", file]).starts_with("commit 1 runs"));
    assert_eq!(server.ok(&["config", "apply", file, "--check"]), "no changes\n");
    assert_eq!(server.ok(&["config", "apply", file]), "nothing to do: commit 1 is that\n");
    let applied: Value =
        serde_json::from_str(&server.ok(&["config", "apply", file, "--json"])).unwrap();
    assert_eq!(applied["changed"], false);
    // What is exported is what runs.
    let export = server.path("export.toml");
    server.ok(&["config", "export", export.to_str().unwrap()]);
    let text = std::fs::read_to_string(&export).unwrap();
    assert!(!text.contains("planted-friend") && !text.contains("planted-node"), "{text}");
    assert_eq!(
        server.ok(&["config", "apply", export.to_str().unwrap(), "--check"]),
        "no changes\n"
    );
    let (code, found) = server.refused(
        &["config", "apply", "-", "--check"],
        &text.replace("capacity = 10000000", "capacity = 0"),
    );
    assert_eq!(code, 1, "{found}");
    assert!(found.contains("port.west"), "{found}");
}

#[test]
fn passwords_are_no_arguments_and_tokens_are_shown_once() {
    let server = Server::with_market();
    let place = "vswitch.one.login.bob.password";
    let (_, found) = server.refused(&["config", "set", place, "hunter2"], "");
    assert!(found.contains("--from FILE") && !found.contains("hunter2"), "{found}");
    let table = "{ password = \"hunter2\" }";
    assert!(
        server.refused(&["config", "set", "vswitch.one.login.bob", table], "").1.contains("--from")
    );
    assert_eq!(server.fed(&["config", "set", place, "--from", "-"], "hunter2\n"), "");
    assert!(!server.ok(&["config", "diff"]).contains("hunter2"));
    assert!(!server.ok(&["config", "show", "vswitch", "--candidate"]).contains("hunter2"));

    let token = server.ok(&[
        "token",
        "new",
        "red-ci",
        "--role",
        "tenant",
        "--tenant",
        "red",
        "--expires",
        "+90d",
    ]);
    assert!(token.starts_with("swy_"), "{token}");
    let list = server.ok(&["token", "list"]);
    assert!(list.contains("red-ci") && !list.contains(token.trim()), "{list}");
    let as_red = |words: &[&str]| {
        server.command(words).env("SWITCHYARD_TOKEN", token.trim()).output().unwrap()
    };
    let seen = String::from_utf8(as_red(&["tenant", "list"]).stdout).unwrap();
    assert!(seen.contains("red") && !seen.contains("blue"), "{seen}");
    assert!(!as_red(&["drain", "west"]).status.success());
    let file = server.path("token");
    let kept =
        server.ok(&["token", "new", "ops", "--role", "operator", "--to", file.to_str().unwrap()]);
    assert!(kept.starts_with("token 2 is in "), "{kept}");
    let by_file = ["status", "--token-file", file.to_str().unwrap()];
    assert!(server.ok(&by_file).contains("as                  operator"));
    server.ok(&["token", "revoke", "2"]);
    assert!(server.refused(&by_file, "").1.contains("token"));
}

#[test]
fn control_is_asked_over_tls() {
    let server = Server::with_market();
    let token = server.ok(&["token", "new", "ops", "--role", "operator"]);
    let url = format!("https://localhost:{}", server.port);
    let ca = server.path("ca.pem");
    let ask = |ca: &str| {
        let words = ["tenant", "list", "--control", &url, "--ca", ca];
        server.command(&words).env("SWITCHYARD_TOKEN", token.trim()).output().unwrap()
    };
    let found = ask(ca.to_str().unwrap());
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(found.status.success() && text.contains("red"), "{text}");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let foreign = server.path("foreign.pem");
    std::fs::write(&foreign, other.cert.pem()).unwrap();
    let found = String::from_utf8(ask(foreign.to_str().unwrap()).stderr).unwrap();
    assert!(found.contains("TLS") && !found.contains(token.trim()), "{found}");
}

#[test]
fn a_vswitch_goes_to_another_box() {
    let (here, there) = (Server::with_market(), Server::start());
    let file = here.path("one.toml");
    let file = file.to_str().unwrap();
    here.ok(&["vswitch", "export", "one", "--to", file, "--secrets"]);
    assert!(std::fs::read_to_string(file).unwrap().contains("planted-friend"));
    assert!(!here.ok(&["vswitch", "export", "one"]).contains("planted-friend"));
    let script = "set tenant.green.id 5\ncommit\n";
    there.fed(&["configure"], script);
    let imported = there.ok(&["vswitch", "import", file, "--tenant", "green", "--name", "new"]);
    assert_eq!(imported, "in the candidate: vswitch.new; look at it with `config diff`\n");
    assert!(there.ok(&["config", "commit"]).starts_with("commit 2 runs"));
    assert!(there.ok(&["tenant", "show", "green"]).contains("vswitches  1\n"));
}

#[test]
fn what_is_remembered_is_kept_and_brought_back() {
    let mut server = Server::with_market();
    assert_eq!(server.ok(&["db", "check"]), "nothing is wrong\n");
    let backup = server.ok(&["backup", "monday.db"]);
    let backup = backup.trim();
    server.ok(&["config", "set", "box.name", "south"]);
    server.ok(&["config", "commit"]);
    let database = server.path("control.db");
    let database = database.to_str().unwrap();
    let restore = ["restore", backup, "--database", database];
    assert!(server.refused(&restore, "").1.contains("control runs"));
    let elsewhere = [&restore[..], &["--control", "/nowhere/control.sock"]].concat();
    assert!(server.refused(&elsewhere, "").1.contains("a process has it open"));
    server.stop();
    let restored = server.ok(&restore);
    assert!(restored.contains("control.db.before-1"), "{restored}");
    assert_eq!(server.ok(&["db", "check", "--file", database]), "nothing is wrong\n");
    let state = name_in(database);
    assert_eq!(state, "north");
}

fn name_in(database: &str) -> String {
    let mut reader = store::Reader::open(database.as_ref()).unwrap();
    reader.read(|tables| tables.tree()).unwrap().settings.name
}

#[test]
fn a_support_bundle_holds_no_secret() {
    let server = Server::with_market();
    let token = server.ok(&["token", "new", "ops", "--role", "operator"]);
    let secret = token.trim().rsplit('_').next().unwrap();
    let comment = format!("tried password=planted-comment and {}", token.trim());
    server.ok(&["config", "set", "box.contact", "https://noc:planted-contact@noc.example/"]);
    server.ok(&["config", "commit", "--comment", &comment]);
    let file = server.path("bundle.tar.gz");
    let words = ["support-bundle", file.to_str().unwrap()];
    let made = server.ok(&words);
    assert!(made.contains("missing: workers.json: "), "{made}");
    assert!(server.refused(&words, "").1.contains("bundle.tar.gz"), "nothing is written over");
    let files = unpacked(&std::fs::read(&file).unwrap());
    for name in
        ["machine.txt", "config.json", "history.json", "audit.json", "status.json", "missing.txt"]
    {
        assert!(files.contains_key(name), "{name}: {:?}", files.keys());
    }
    assert!(files["config.json"].contains("02:00:00:00:00:01"));
    for (name, text) in &files {
        for planted in ["planted-", secret, token.trim()] {
            assert!(!text.contains(planted), "{name} holds {planted}");
        }
    }
    // Also when nobody answers.
    let away = server.path("away.tar.gz");
    let words = ["support-bundle", away.to_str().unwrap(), "--control", "/nowhere/control.sock"];
    assert!(server.ok(&words).contains("missing: status.json"));
}

fn unpacked(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), text)
    });
    entries.collect()
}

#[test]
fn completions_and_manual_pages_are_made() {
    let server = Server::start();
    for shell in ["bash", "zsh", "fish"] {
        assert!(server.ok(&["completions", shell]).contains("hand-over"), "{shell}");
    }
    let folder = server.path("man");
    server.ok(&["man", folder.to_str().unwrap()]);
    let page = std::fs::read_to_string(folder.join("switchyard-config-apply.1")).unwrap();
    assert!(page.contains("Exit codes"), "{page}");
}

/// A person at a terminal: places and values are completed, and a password is not echoed.
#[test]
fn a_person_configures_with_completion() {
    let server = Server::with_market();
    let terminal = openpty(None, None).unwrap();
    let slave = File::from(terminal.slave);
    let mut command = server.command(&["configure"]);
    command.env("TERM", "xterm").stdin(slave.try_clone().unwrap());
    command.stdout(slave.try_clone().unwrap()).stderr(slave);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut master = File::from(terminal.master);
    let mut seen = String::new();
    let mut talk = |until: &str, say: &str| {
        read_until(&mut master, &mut seen, until);
        seen.clear();
        master.write_all(say.as_bytes()).unwrap();
    };
    talk("north# ", "set vswitch.one.vif.2.ro\t p\t\r");
    talk("north# ", "set vswitch.one.login.bob.password\r");
    talk("vswitch.one.login.bob.password: ", "planted-typed\r");
    talk("north# ", "dif\t\r");
    talk("+ vswitch.one.login.bob", "exit\r");
    read_until(&mut master, &mut seen, "exit");
    assert!(child.wait().unwrap().success());
    assert!(!seen.contains("planted-typed"), "{seen}");
    let diff = server.ok(&["config", "diff"]);
    assert!(diff.contains("~ vswitch.one.vif.2.role = \"customer\" -> \"peer\""), "{diff}");
}

fn read_until(terminal: &mut File, seen: &mut String, until: &str) {
    while !seen.contains(until) {
        let mut bytes = [0; 4096];
        let len = terminal.read(&mut bytes).unwrap_or(0);
        assert!(len > 0, "the terminal is gone; expected {until:?} after {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        assert!(!seen.contains("planted-typed"), "a password was echoed");
    }
}
