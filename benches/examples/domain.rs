//! `cargo run --release -p benches --example domain`: what admission and the configuration of a full box cost.
//!
//! The machine is the reader's to name. Nanoseconds are medians; milliseconds are those on the processor, so that other
//! work on the machine is not counted.
#![allow(clippy::print_stdout, reason = "the figures are the product")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use benches::control::full::{self, CAPACITY, HOUR, LEASES, MTU, TENANTS};
use benches::rounds::quantile;
use dataplane_api::{Direction, Generation};
use domain::tree::{Place, diff};
use domain::{Ask, Burst, Calendar, LeaseId, PortSide, PortTerms, Refusal, Slot, Time, Tree};
use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

const SLICES: u64 = 4000;

fn main() -> Result<(), Box<dyn Error>> {
    calendar()?;
    tree()
}

/// All leases on one side: hours of random begin within a year, two years of calendar.
fn calendar() -> Result<(), Box<dyn Error>> {
    let side = PortSide { port: "west".into(), direction: Direction::Out };
    let mut seed = 7_u64;
    let mut below = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 16) % bound
    };
    let mut ask = |bytes_per_s| {
        let start = Time(below(365 * 24 * HOUR));
        let slot = Slot { start, end: start.after(HOUR + below(14 * 24 * HOUR)) };
        Ask { side: side.clone(), slot, bytes_per_s, burst: Burst::UpTo(20_000) }
    };
    let before = resident_kib()?;
    let mut calendar = Calendar::default();
    calendar.set_terms(&side, PortTerms::usual(CAPACITY, MTU));
    let start = Instant::now();
    for id in 0..LEASES {
        calendar.admit(LeaseId(id), &ask(1_000_000))?;
    }
    let fill = start.elapsed().as_secs_f64() * 1e9 / f64::from(LEASES);
    let kib = resident_kib()?.saturating_sub(before);
    println!("{LEASES} leases on one side: {} bytes each", kib * 1024 / u64::from(LEASES));
    println!("admit, from none on: {fill:.0} ns");
    let quote = median(|| black_box(calendar.quote(&ask(1_000_000))).is_ok());
    println!("quote that fits: {quote:.0} ns");
    let mut full = 0_u32;
    let refuse = median(|| match calendar.quote(&ask(9_950_000_000)) {
        Err(Refusal::Full { fits: Some(_), .. }) => {
            full += 1;
            true
        }
        Ok(_) | Err(_) => false,
    });
    println!("quote that is refused ({full} of {SLICES}), with the earliest slot: {refuse:.0} ns");
    let mut id = 0;
    let replace = median(|| {
        id += 1;
        let id = LeaseId(id % LEASES);
        calendar.remove(id).is_ok() && calendar.admit(id, &ask(1_000_000)).is_ok()
    });
    println!("remove and admit: {replace:.0} ns");
    let start = on_processor()?;
    let misfits = calendar.set_terms(&side, PortTerms::usual(CAPACITY / 10, MTU)).len();
    println!("a tenth of the capacity is left, {misfits} misfits: {:.0} ms", ms(start)?);
    Ok(())
}

/// A full box: every tenant a vswitch, every vif a lease.
fn tree() -> Result<(), Box<dyn Error>> {
    let before = resident_kib()?;
    let start = on_processor()?;
    let (tree, leases) = (full::tree(), full::leases()?);
    println!("{TENANTS} vswitches, {LEASES} vifs, each with a lease, made: {:.0} ms", ms(start)?);
    let kib = resident_kib()?.saturating_sub(before);
    println!("memory of tree, calendar and leases: {} MiB", kib / 1024);
    let ports = BTreeMap::from([("west".to_owned(), MTU)]);
    let start = on_processor()?;
    let problems = tree.check(&ports, &leases);
    if let Some(problem) = problems.first() {
        return Err(problem.to_string().into());
    }
    println!("check: {:.0} ms", ms(start)?);
    let start = on_processor()?;
    let spec = tree.compile(Generation(1), &leases);
    println!("compile, {} leases: {:.0} ms", spec.leases.len(), ms(start)?);
    let mut changed = tree.clone();
    let place: Place = "vswitch.t77.vif.3.mtu".parse()?;
    let set = median(|| changed.set(&place, 1300.into()).is_ok());
    println!("set one place: {:.0} us", set / 1e3);
    let start = on_processor()?;
    let differences = diff(&tree, &changed).len();
    println!("diff, {differences} place: {:.1} ms", ms(start)?);
    let start = on_processor()?;
    let text = tree.to_toml()?;
    println!("export, {} KiB of TOML: {:.0} ms", text.len() / 1024, ms(start)?);
    let start = on_processor()?;
    if Tree::from_toml(&text)? != tree {
        return Err("the tree does not read back".into());
    }
    println!("import: {:.0} ms", ms(start)?);
    Ok(())
}

/// Median time of a piece of work that can tell whether it was what it should be, ns.
fn median(mut work: impl FnMut() -> bool) -> f64 {
    let times: Vec<f64> = (0..SLICES)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed().as_secs_f64() * 1e9
        })
        .collect();
    quantile(&times, 0.5)
}

fn ms(start: u64) -> Result<f64, Box<dyn Error>> {
    Ok((on_processor()? - start) as f64 / 1e6)
}

/// How long this thread has run, ns.
fn on_processor() -> Result<u64, Box<dyn Error>> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(times.split_whitespace().next().ok_or("no schedstat")?.parse()?)
}

/// Memory of this process that is in use.
fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
