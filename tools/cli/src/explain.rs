//! `explain`: what this box would do with a label, hop by hop, without sending a packet.

use crate::connect::Process;
use crate::label::Label;
use crate::output::{OutputArgs, print_json};
use crate::{ProcessArgs, claims, names, units};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use dataplane_api::{DefaultClass, Direction, LinkSpec, Role, Spec, Status, WorkerId};
use engine::schedule::Terms;
use engine::{Compiler, PortFacts, Rules, Step, StepEnd};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// MTU of a port that this machine does not have.
const ASSUMED_MTU: u32 = 1500;

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Label to explain: a path that begins with the vswitch's own director
    label: Label,
    /// Vswitch whose route server or router would send it
    #[arg(long)]
    vswitch: String,
    /// Number of the vif that it comes in by; without it: the vswitch itself sends it
    #[arg(long, value_name = "VIF", default_value_t = 1)]
    from: u16,
    /// Explain by this configuration file instead of the running process
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, PartialEq, Serialize)]
struct Explanation {
    label: Label,
    vswitch: String,
    steps: Vec<Hop>,
    /// How it waits for its port, if it leaves the box.
    class: Option<Class>,
}

/// What decides when a packet leaves.
#[derive(Debug, PartialEq, Serialize)]
struct Class {
    /// The lease of the vif that it leaves by.
    lease: Option<u32>,
    words: String,
}

/// One switch step inside the box.
#[derive(Debug, PartialEq, Serialize)]
struct Hop {
    vswitch: String,
    /// Number of the ingress vif; 1 is the vswitch itself.
    from: u16,
    /// Label before the step.
    label: Label,
    /// The vif that the label's low bits name, and how many bits that takes.
    director: Option<Director>,
    /// All of it, and where it leads, in words.
    words: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Director {
    number: u16,
    bits: u8,
}

impl From<Step> for Hop {
    fn from(step: Step) -> Self {
        Self {
            words: step.to_string(),
            vswitch: step.vswitch,
            from: step.from,
            label: Label(step.label),
            director: step.director.map(|(number, bits)| Director { number, bits }),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &ExplainArgs, out: &mut dyn Write) -> Result<()> {
    let (spec, ports) = match &args.config {
        Some(path) => from_file(path)?,
        None => {
            let mut process = Process::connect(&args.process)?;
            let facts = facts_of(&process.status()?);
            (process.spec()?, facts)
        }
    };
    let explanation = explain(&spec, &ports, (&args.vswitch, args.from), args.label)?;
    if args.output.json {
        return print_json(out, &explanation);
    }
    Ok(write!(out, "{}", text(&explanation))?)
}

/// `from`: vswitch, and number of the vif there.
fn explain(
    spec: &Spec,
    ports: &[PortFacts],
    (vswitch, from): (&str, u16),
    label: Label,
) -> Result<Explanation> {
    let rules = compile(spec, ports)?;
    let id = rules.vswitch_named(vswitch).map(|vswitch| vswitch.id).ok_or_else(|| {
        let known = names::listed(spec.vswitches.iter().map(|vswitch| vswitch.name.as_str()));
        anyhow!("there is no vswitch {vswitch:?}; the spec has {known}")
    })?;
    let steps = engine::explain(&rules, id, from, label.0);
    ensure!(!steps.is_empty(), "vswitch {vswitch:?} has no vif {from}");
    let class = steps.last().and_then(|step| class(&rules, step));
    let steps = steps.into_iter().map(Hop::from).collect();
    Ok(Explanation { label, vswitch: vswitch.to_owned(), steps, class })
}

/// How a packet waits after its last step; not at all if that does not lead out of the box.
fn class(rules: &Rules, last: &Step) -> Option<Class> {
    let StepEnd::Leaves { vif, .. } = last.end else { return None };
    let port = rules.vif(vif)?.port()?;
    let Some(lease) = rules.lease_of(vif, Direction::Out, daemon::clock::wall_ms()) else {
        let words = match rules.capacity(port) {
            Some(_) => {
                "the vif has no lease now; ".to_owned() + &claim(rules, last).unwrap_or_else(free)
            }
            None => "free: the port is not sold, so it leaves in the order it came".to_owned(),
        };
        return Some(Class { lease: None, words });
    };
    let Terms { rate, burst, weight, ceiling, preserve_order } = lease.terms;
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bits = |rate: u64| format!("{}bit/s", units::rate(rate as f64 * 8.0));
    let mut words = format!(
        "guaranteed by lease {} up to {}, {} at once; ",
        lease.id,
        bits(rate),
        units::bytes(burst)
    );
    words += &match weight {
        0 => claim(rules, last).unwrap_or_else(|| "free".to_owned()) + " above that",
        weight => format!("priority above that, with a weight of {}", bits(weight)),
    };
    if ceiling > 0 {
        words += &format!("; dropped above {}", bits(ceiling));
    }
    if preserve_order {
        words += "; in the order it came";
    }
    Some(Class { lease: Some(lease.id), words })
}

fn free() -> String {
    "free, so it leaves after what is leased or has priority".to_owned()
}

/// What a packet claims itself by the policy of the vif that it came in by, if that has one.
fn claim(rules: &Rules, last: &Step) -> Option<String> {
    let vswitch = rules.vswitch_named(&last.vswitch)?.id;
    let vif = rules.vif_numbered(vswitch, last.from)?;
    let policy = &vif.policy;
    let is_customer = vif.role == Role::Customer && !policy.clear_customer_bit;
    let mut weight = match policy.default_class {
        DefaultClass::Free => 0,
        DefaultClass::Priority(weight) => weight,
    };
    let caps = [policy.priority_cap, policy.deprioritise_non_customer.filter(|_| !is_customer)];
    weight = caps.into_iter().flatten().fold(weight, u64::min);
    let rule = format!("by the policy of vif {} ({})", last.from, claims::words(policy));
    let told = match policy.traffic_class {
        true => ", unless the neighbour answered the offer and says otherwise",
        false => "",
    };
    match (policy.is_default(), weight) {
        (true, _) => None,
        (false, 0) => Some(format!("free {rule}{told}")),
        (false, weight) => {
            Some(format!("priority with a weight of {} {rule}{told}", claims::weight_words(weight)))
        }
    }
}

/// Rules for looking at: nothing is sent, so the seed of their tables needs no secrecy.
fn compile(spec: &Spec, ports: &[PortFacts]) -> Result<Rules> {
    let vifs = spec.vswitches.iter().map(|vswitch| vswitch.vifs.len()).sum();
    Compiler::new(spec.vswitches.len(), vifs, 0)
        .compile(spec, &[], ports)
        .context("the spec does not compile")
}

fn from_file(path: &Path) -> Result<(Spec, Vec<PortFacts>)> {
    let spec = crate::config::spec_of(path)?;
    let names: BTreeSet<&str> = (spec.vswitches.iter())
        .flat_map(|vswitch| &vswitch.vifs)
        .filter_map(|vif| vif.link.as_ref())
        .map(|link| match link {
            LinkSpec::Ethernet { port, .. } | LinkSpec::Udp { port, .. } => port.as_str(),
        })
        .chain(spec.capacities.iter().map(|capacity| capacity.port.as_str()))
        .collect();
    let facts =
        names.iter().map(|name| facts(name, mtu_here(name).unwrap_or(ASSUMED_MTU))).collect();
    Ok((spec, facts))
}

fn facts_of(status: &Status) -> Vec<PortFacts> {
    status.ports.iter().map(|port| facts(&port.name, port.mtu)).collect()
}

/// A port as far as a label is concerned: what it may be trusted with was settled when the spec was applied.
fn facts(name: &str, mtu: u32) -> PortFacts {
    PortFacts {
        name: name.to_owned(),
        mtu,
        workers: vec![WorkerId(0)],
        untrusted: false,
        plain_forced: true,
        tags_visible: true,
        checksum_partial: false,
    }
}

fn mtu_here(name: &str) -> Option<u32> {
    std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("mtu"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn text(explanation: &Explanation) -> String {
    let mut text = format!("{} from vswitch {}\n", explanation.label, explanation.vswitch);
    for (number, step) in explanation.steps.iter().enumerate() {
        text.push_str(&format!("{:2}. {}\n", number + 1, step.words));
    }
    if let Some(class) = &explanation.class {
        text.push_str(&format!("    {}\n", class.words));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        [[vswitch]]
        name = "red"
        public_key = "u1dq204svw7ugrn6svg2w6jst2ulbn9w0n5381cj63382zwgxv90.k"
        [[vswitch.vif]]
        number = 2
        link = { ethernet = { port = "nowhere0", peer = "02:00:00:00:00:01", session = "plain" } }
        [[vswitch.vif]]
        number = 4

        [[vswitch.vif]]
        number = 5
        role = "peer"
        link = { ethernet = { port = "nowhere0", peer = "02:00:00:00:00:02", session = "plain" } }
        policy = { default_class = { priority = 2_500_000 }, deprioritise_non_customer = 1_250_000 }

        [[vswitch]]
        name = "blue"
        public_key = "jfkgsxfbfv4u8351l47j6dtxc42gp66n1zm65nmnlcf2qklvk8t0.k"
        scheme = "v48"
        [[vswitch.vif]]
        number = 5

        [[cable]]
        a = { vswitch = "red", vif = 4 }
        b = { vswitch = "blue", vif = 5 }

        [[capacity]]
        port = "nowhere0"
        rate = 125_000_000
        [[lease]]
        id = 7
        vifs = [{ vswitch = "red", vif = 2 }]
        rate = 12_500_000
        weight = 0
        ceiling = 25_000_000
    "#;

    fn configured() -> (Spec, Vec<PortFacts>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("box.toml");
        std::fs::write(&path, CONFIG).unwrap();
        from_file(&path).unwrap()
    }

    fn explained(from: u16, label: u64) -> Explanation {
        let (spec, ports) = configured();
        assert_eq!(ports[0].mtu, ASSUMED_MTU, "this machine has no such port");
        explain(&spec, &ports, ("red", from), Label(label)).unwrap()
    }

    #[test]
    fn a_label_is_followed_out_of_the_box() {
        let explanation = explained(1, 0x15);
        assert_eq!(explanation.steps.len(), 1);
        assert_eq!(explanation.steps[0].director, Some(Director { number: 2, bits: 4 }));
        assert!(text(&explanation).starts_with("0000.0000.0000.0015 from vswitch red\n 1. red: "));
        assert!(explanation.steps[0].words.contains("leaves by vif 2"), "{explanation:?}");
        let class = explanation.class.unwrap();
        let words = "guaranteed by lease 7 up to 100 Mbit/s, 62.5 kB at once; free above that; \
                     dropped above 200 Mbit/s";
        assert_eq!((class.lease, class.words.as_str()), (Some(7), words));
    }

    #[test]
    fn what_a_packet_claims_by_the_vif_it_came_in_by_is_told() {
        let explanation = explained(5, 0x15);
        let words = explanation.class.unwrap().words;
        let policy =
            "priority 20.0 Mbit/s by default; priority 10.0 Mbit/s at most unless of a customer";
        let claim = format!(
            "priority with a weight of 10.0 Mbit/s by the policy of vif 5 ({policy}) above that"
        );
        assert!(words.contains(&claim), "{words}");
        let (spec, ports) = configured();
        let error = explain(&spec, &ports, ("red", 9), Label(0x15)).unwrap_err().to_string();
        assert_eq!(error, "vswitch \"red\" has no vif 9");
    }

    #[test]
    fn a_label_is_followed_through_a_cable_to_the_other_vswitch() {
        // 1001 is v358's director of 4; then blue's own, 00001.
        let explanation = explained(1, 0b0_0001_1001);
        let vswitches: Vec<(&str, u16)> =
            explanation.steps.iter().map(|step| (step.vswitch.as_str(), step.from)).collect();
        assert_eq!(vswitches, [("red", 1), ("blue", 5)]);
        assert!(explanation.steps[1].words.contains("delivered"), "{explanation:?}");
        assert_eq!(explanation.class, None);
    }

    #[test]
    fn a_label_that_names_nothing_says_so() {
        let explanation = explained(1, 0x1f);
        assert!(explanation.steps[0].words.contains("dropped as unknown_vif"), "{explanation:?}");
        let json = serde_json::to_value(&explanation).unwrap();
        assert_eq!(json["steps"][0]["director"]["number"], 7);
        assert_eq!(json["label"], "0000.0000.0000.001f");
    }

    #[test]
    fn an_unknown_vswitch_is_answered_with_the_known_ones() {
        let error = explain(&toml::from_str("").unwrap(), &[], ("red", 1), Label(1))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "there is no vswitch \"red\"; the spec has none");
    }
}
