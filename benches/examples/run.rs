//! `cargo run --release -p benches --example run -- switch|engine|veth|crypto|links|chain|leases`: one bench, its report
//! as JSON.

#[expect(clippy::print_stdout, reason = "the report is the product")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let report = match std::env::args().nth(1).as_deref() {
        Some("switch") => benches::switch::run()?,
        Some("engine") => benches::engine::run()?,
        Some("crypto") => benches::crypto::rivals::run()?,
        Some("links") => benches::links::run(links()?)?,
        Some("chain") => benches::chain::run(benches::chain::ROUNDS, false)?,
        Some("veth") => benches::veth::run()?,
        Some("leases") => benches::leases::run(&leases())?,
        other => {
            let expected =
                "expected `switch`, `engine`, `veth`, `crypto`, `links`, `chain` or `leases`";
            return Err(format!("bench {other:?}: {expected}").into());
        }
    };
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// `links [vswitches] [seconds] [noise] [flood]`.
fn links() -> Result<benches::links::Options, std::num::ParseIntError> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let number = |place: usize, otherwise| {
        arguments.get(place).map_or(Ok(otherwise), |text| text.parse::<u16>())
    };
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    Ok(benches::links::Options {
        size: benches::links::Size { vswitches: number(0, 4096)? },
        idle: std::time::Duration::from_secs(number(1, 60)?.into()),
        handshakes: if has("noise") {
            benches::links::Handshakes::Noise
        } else {
            benches::links::Handshakes::CryptoAuth
        },
        flood: has("flood"),
    })
}

/// `leases [quick]`.
fn leases() -> benches::leases::Options {
    let quick = std::env::args().nth(2).is_some_and(|argument| argument == "quick");
    benches::leases::Options { quick, ..benches::leases::Options::default() }
}
