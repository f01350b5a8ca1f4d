//! What is sent, from where, and what must come of it.

use crate::link::Link;
use crate::rng::Rng;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Frame lengths without FCS of a simple IMIX, and how many of each: 64, 594 and 1518 bytes on the wire at 7 : 4 : 1.
pub const IMIX: [(u16, u32); 3] = [(60, 7), (590, 4), (1514, 1)];

/// All streams. The place in the list is the stream's number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The streams.
    #[serde(rename = "stream")]
    pub streams: Vec<Stream>,
}

/// Packets of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// What it shows.
    pub name: String,
    /// Whose it is.
    #[serde(default)]
    pub tenant: u32,
    /// Port it is injected at: the box's name of it.
    pub from: String,
    /// Headers it is injected with.
    pub link: Link,
    /// Label as the neighbour puts it on the wire: its own switch's step is done.
    #[serde(with = "hex_label")]
    pub label: u64,
    /// Bits that step consumed.
    #[serde(default)]
    pub shift: u8,
    /// Frame lengths.
    #[serde(default)]
    pub sizes: Sizes,
    /// Its share of the packets sent at its port. A stream's rate is the port's rate · weight / sum of weights.
    #[serde(default = "one")]
    pub weight: u32,
    /// Where it arrives; `None`: it must not.
    #[serde(default)]
    pub arrival: Option<Arrival>,
}

/// How a stream's packets look when they arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrival {
    /// Port they leave by: the box's name of it.
    pub port: String,
    /// Their headers.
    pub link: Link,
    /// Their label.
    #[serde(with = "hex_label")]
    pub label: u64,
    /// Their shift.
    pub shift: u8,
}

/// Frame lengths without FCS, bytes. A length too short for headers and stamp stands for the shortest that is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sizes {
    /// All alike.
    Fixed(u16),
    /// Each as often as the others.
    List(Vec<u16>),
    /// (length, weight).
    Weighted(Vec<(u16, u32)>),
    /// [`IMIX`].
    Imix,
}

impl Default for Sizes {
    fn default() -> Self {
        Self::Fixed(60)
    }
}

impl Sizes {
    /// (length, weight) of each.
    #[must_use]
    pub fn weighted(&self) -> Vec<(u16, u32)> {
        match self {
            Self::Fixed(len) => vec![(*len, 1)],
            Self::List(lens) => lens.iter().map(|len| (*len, 1)).collect(),
            Self::Weighted(lens) => lens.clone(),
            Self::Imix => IMIX.to_vec(),
        }
    }
}

/// Draws by weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Running sums of the weights.
    sums: Vec<u64>,
}

impl Draw {
    /// Over these weights.
    #[must_use]
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let sum = |sum: &mut u64, weight: u32| {
            *sum += u64::from(weight);
            Some(*sum)
        };
        Self { sums: weights.into_iter().scan(0, sum).collect() }
    }

    /// A place; 0 if all weights are.
    pub fn draw(&self, rng: &mut Rng) -> usize {
        match self.sums.as_slice() {
            [] | [_] => 0,
            [.., total] => {
                let at = rng.below(*total);
                self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1)
            }
        }
    }
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("scenario {file}")]
    Read {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a scenario.
    #[error("scenario {file}")]
    Parse {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: toml::de::Error,
    },
    /// A stream without lengths or weight.
    #[error("stream {stream:?}: {why}")]
    Stream {
        /// Which.
        stream: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Scenario {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { file: file.clone(), source })?;
        let scenario: Self =
            toml::from_str(&text).map_err(|source| ScenarioError::Parse { file, source })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Refuses what cannot be sent.
    ///
    /// # Errors
    /// [`ScenarioError::Stream`].
    pub fn check(&self) -> Result<(), ScenarioError> {
        for stream in &self.streams {
            let refuse = |why| Err(ScenarioError::Stream { stream: stream.name.clone(), why });
            if stream.sizes.weighted().iter().all(|(_, weight)| *weight == 0) {
                return refuse("it has no frame length");
            }
            if stream.weight == 0 {
                return refuse("a weight is at least 1");
            }
            if stream.shift > wire::switch::SHIFT_MAX {
                return refuse("a shift is at most 63");
            }
            if crate::Template::new(&stream.link, stream.header(), 0, 0).is_none() {
                return refuse("its UDP addresses are of two families, or a UDP port is 0");
            }
        }
        Ok(())
    }

    /// The streams injected at a port, with their numbers.
    pub fn from_port<'a>(&'a self, port: &'a str) -> impl Iterator<Item = (u32, &'a Stream)> {
        (0..).zip(&self.streams).filter(move |(_, stream)| stream.from == port)
    }
}

impl Stream {
    /// The switch header it is sent with.
    #[must_use]
    pub fn header(&self) -> wire::switch::Header {
        let mut header = wire::switch::Header::new(self.label, 0);
        header.set_shift(self.shift);
        header
    }
}

const fn one() -> u32 {
    1
}

/// Labels as 16 hexadecimal digits: TOML has no unsigned 64-bit numbers, and people read labels so.
mod hex_label {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(label: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{label:016x}"))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.replace('.', "");
        let label = u64::from_str_radix(&digits, 16).ok().filter(|_| !digits.starts_with('+'));
        label.ok_or_else(|| {
            D::Error::custom(format!("label {text:?}: expected up to 16 hexadecimal digits"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::MacAddress;

    fn stream() -> Stream {
        let link = Link::Ethernet {
            source: MacAddress([2; 6]),
            destination: MacAddress([4; 6]),
            vlan: Some(7),
        };
        Stream {
            name: "a".into(),
            tenant: 1,
            from: "west".into(),
            link,
            label: 0x8000_0000_0000_0017,
            shift: 4,
            sizes: Sizes::Imix,
            weight: 3,
            arrival: Some(Arrival {
                port: "east".into(),
                link,
                label: 0xa800_0000_0000_0001,
                shift: 8,
            }),
        }
    }

    #[test]
    fn a_scenario_reads_back() {
        let scenario = Scenario { streams: vec![stream()] };
        let text = toml::to_string(&scenario).unwrap();
        assert!(text.contains("8000000000000017"), "{text}");
        assert_eq!(toml::from_str::<Scenario>(&text).unwrap(), scenario);
        assert!(scenario.check().is_ok());
        assert!(toml::from_str::<Scenario>(&text.replace("8000000000000017", "+17")).is_err());
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for bad in [
            Stream { weight: 0, ..stream() },
            Stream { sizes: Sizes::List(vec![]), ..stream() },
            Stream { shift: 64, ..stream() },
        ] {
            assert!(Scenario { streams: vec![bad] }.check().is_err());
        }
    }

    #[test]
    fn imix_keeps_its_proportions() {
        let draw = Draw::new(Sizes::Imix.weighted().iter().map(|(_, weight)| *weight));
        let mut rng = Rng::new(1);
        let mut counts = [0_i64; 3];
        for _ in 0..120_000 {
            counts[draw.draw(&mut rng)] += 1;
        }
        // Six standard deviations of the widest: √(120000 · 7/12 · 5/12) = 171.
        for (count, expected) in counts.iter().zip([70_000, 40_000, 10_000]) {
            assert!((count - expected).abs() < 1026, "{counts:?}");
        }
    }

    #[test]
    fn weight_zero_is_never_drawn() {
        let draw = Draw::new([0, 5, 0]);
        let mut rng = Rng::new(1);
        assert!((0..100).all(|_| draw.draw(&mut rng) == 1));
    }
}
