//! Two boxes become neighbours by this program alone, as their operators would do it.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use lab::{End, Namespace, veth};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A box in a namespace, with one port.
struct Running {
    dir: TempDir,
    process: Child,
    /// Its devices are there until the process is gone.
    _namespace: Namespace,
}

impl Running {
    fn start(namespace: Namespace, port: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "[process]\nsocket = {:?}\ncounters = {:?}\nstate_dir = {:?}\n\
             [workers]\ncount = 1\nidle_rounds = 100\n\
             [limits]\nvswitches = 8\nvifs = 64\n\
             [[port]]\nname = {port:?}\nbackend = \"af_packet\"\n",
            path("socket"),
            path("counters"),
            path("state")
        );
        std::fs::write(dir.path().join("box.toml"), config).unwrap();
        let process = namespace.run(|| {
            Command::new(env!("CARGO_BIN_EXE_switchyard"))
                .args(["run", "--config"])
                .arg(dir.path().join("box.toml"))
                .stdin(Stdio::null())
                .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
                .spawn()
        });
        let running = Self { process: process.unwrap().unwrap(), dir, _namespace: namespace };
        eventually("the process serves its socket", || {
            running.try_say(&["show", "spec"], "").is_ok()
        });
        running
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the program answers; what it complains of, if it fails.
    fn try_say(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(arguments)
            .env("SWITCHYARD_SOCKET", self.file("socket"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        command.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = command.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    fn say(&self, arguments: &[&str], input: &str) -> String {
        let said = self.try_say(arguments, input);
        said.unwrap_or_else(|complaint| panic!("{arguments:?}: {complaint}"))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.say(arguments, "")).unwrap()
    }

    /// Gives it a vswitch whose key it makes itself.
    fn make_vswitch(&self, name: &str) -> String {
        let key = self.json(&["keys", "generate", "--json"]);
        let key = key["public_key"].as_str().unwrap().to_owned();
        let spec = self.file("spec.toml");
        std::fs::write(&spec, format!("[[vswitch]]\nname = {name:?}\npublic_key = {key:?}\n"))
            .unwrap();
        self.say(&["apply", "--spec", spec.to_str().unwrap()], "");
        key
    }

    fn links(&self) -> Vec<Value> {
        self.json(&["show", "links", "--json"])["links"].as_array().unwrap().clone()
    }

    fn is_up(&self) -> bool {
        let up = |link: &Value| link["session"]["state"] == "ESTABLISHED";
        self.links().iter().any(up)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
            drop(writeln!(std::io::stderr(), "{log}"));
        }
    }
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn two_boxes() -> [Running; 2] {
    let namespaces: [Namespace; 2] = std::array::from_fn(|_| Namespace::new().unwrap());
    let end = |at: usize, name, last| End {
        namespace: &namespaces[at],
        name,
        mac: [2, 0, 0, 0, 0xc, last],
    };
    veth(end(0, "east", 1), end(1, "west", 2), 1500, 1).unwrap();
    let [left, right] = namespaces;
    [Running::start(left, "east"), Running::start(right, "west")]
}

#[test]
fn two_boxes_become_neighbours_and_part() {
    if !lab::may("two_boxes_become_neighbours_and_part") {
        return;
    }
    let [red, blue] = two_boxes();
    let (red_key, blue_key) = (red.make_vswitch("red"), blue.make_vswitch("blue"));
    assert_eq!(red.json(&["keys", "list", "--json"])["keys"][0]["vswitch"], "red");

    // One operator makes a login, the other pastes what was printed.
    let credentials =
        red.say(&["peer", "accept", "red", "--user", "blue", "--ethernet", "east"], "");
    assert!(credentials.contains("interfaces.ETHInterface[0].connectTo"), "{credentials}");
    let add = ["peer", "add", "blue", "--ethernet", "west", "--credentials", "-", "--json"];
    let added: Value = serde_json::from_str(&blue.say(&add, &credentials)).unwrap();
    assert_eq!(added["number"], 2);
    eventually("both see the link up", || red.is_up() && blue.is_up());
    let link = &red.links()[0];
    assert_eq!(
        (&link["session"]["user"], &link["session"]["key"]),
        (&"blue".into(), &blue_key.as_str().into())
    );
    let table = blue.say(&["show", "links"], "");
    assert!(table.contains("ESTABLISHED") && table.contains(&red_key[..8]), "{table}");

    // No password in what is shown, and what is shown is no spec.
    let credentials: Value =
        serde_json::from_str(&red.say(&["peer", "credentials", "red", "--json"], "")).unwrap();
    let connect_to =
        credentials["credentials"][0]["connectTo"].as_object().unwrap().values().next().unwrap();
    let password = connect_to["password"].as_str().unwrap();
    for box_ in [&red, &blue] {
        let shown = box_.say(&["show", "spec"], "");
        assert!(!shown.contains(password), "{shown}");
        assert!(box_.say(&["show", "spec", "--secrets"], "").contains(password));
        let file = box_.file("shown.toml");
        std::fs::write(&file, shown.replace("generation = ", "generation = 1")).unwrap();
        let refused = box_.try_say(&["apply", "--spec", file.to_str().unwrap()], "").unwrap_err();
        assert!(refused.contains("--secrets"), "{refused}");
        let log = std::fs::read_to_string(box_.file("log")).unwrap();
        assert!(!log.contains(password), "{log}");
    }

    // Without its login the neighbour is gone, and stays away.
    red.say(&["peer", "remove", "red", "--user", "blue"], "");
    eventually("red has no neighbour", || red.links().is_empty());
    let neighbour = blue.json(&["show", "vifs", "--json"])["vifs"].as_array().unwrap().len();
    assert_eq!(neighbour, 1);
    blue.say(&["peer", "remove", "blue", &red_key], "");
    assert!(blue.links().is_empty());
}

#[test]
fn a_key_is_brought_and_rotated() {
    if !lab::may("a_key_is_brought_and_rotated") {
        return;
    }
    let [red, _other] = two_boxes();
    let before = red.make_vswitch("red");
    let file = red.file("red.key");
    let file = file.to_str().unwrap();
    let made = red.json(&["keys", "generate", "--to", file, "--json"]);
    assert!(red.try_say(&["keys", "generate", "--to", file], "").unwrap_err().contains("already"));
    let private = std::fs::read_to_string(file).unwrap();
    let said = red.say(&["keys", "import", "--vswitch", "red"], &private);
    assert!(!said.contains(private.trim()));
    let shown = red.json(&["show", "vswitches", "--json"]);
    let shown = &shown["vswitches"][0];
    assert_eq!((&shown["public_key"], &shown["has_key"]), (&made["public_key"], &true.into()));
    let key = made["public_key"].as_str().unwrap();
    assert!(
        red.try_say(&["keys", "remove", key], "").unwrap_err().contains("a vswitch has the key")
    );
    red.say(&["keys", "remove", &before], "");
    assert_eq!(red.json(&["keys", "list", "--json"])["keys"].as_array().unwrap().len(), 1);
    for said in [red.say(&["show", "spec"], ""), std::fs::read_to_string(red.file("log")).unwrap()]
    {
        assert!(!said.contains(private.trim()), "{said}");
    }
}
