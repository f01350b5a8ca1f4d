//! The alert rules, read and tried by Prometheus' own tool where it is installed.
#![expect(clippy::tests_outside_test_module, reason = "the whole crate is tests")]

use std::path::Path;
use std::process::Command;

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn alerts_fire_when_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/prometheus");
    for arguments in
        [["check", "rules", "switchyard.rules.yml"], ["test", "rules", "switchyard.rules.test.yml"]]
    {
        let tool = Command::new("promtool").args(arguments).current_dir(&folder).output();
        let Ok(tool) = tool else {
            eprintln!(
                "SKIPPED alerts_fire_when_they_should: promtool is not installed (Debian: prometheus)"
            );
            return;
        };
        let said = [tool.stdout, tool.stderr].concat();
        assert!(tool.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}
