//! `cargo run --release -p benches --example run -- switch|engine|veth|crypto`: one bench, its report as JSON.

#[expect(clippy::print_stdout, reason = "the report is the product")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let report = match std::env::args().nth(1).as_deref() {
        Some("switch") => benches::switch::run()?,
        Some("engine") => benches::engine::run()?,
        Some("crypto") => benches::crypto::rivals::run()?,
        Some("veth") => benches::veth::run()?,
        other => {
            let expected = "expected `switch`, `engine`, `veth` or `crypto`";
            return Err(format!("bench {other:?}: {expected}").into());
        }
    };
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
