//! What differs between networks.

use crate::compact::Compact;
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, block};

/// Parameters of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// `pkt`, `pkttest`.
    pub name: &'static str,
    /// First bytes of every message between nodes, as a little-endian number; `getcurrentnet` returns it.
    pub magic: u32,
    /// Human-readable part of witness addresses.
    pub hrp: &'static str,
    /// Version byte of addresses that pay to a key's hash.
    pub pubkey_hash_version: u8,
    /// Version byte of addresses that pay to a script's hash.
    pub script_hash_version: u8,
    /// The easiest target of a header.
    pub pow_limit: Compact,
    /// The target of the first block, which later ones keep until a retarget.
    pub genesis_bits: Compact,
    /// Below this height blocks may be of the easiest target when they come late. `u32::MAX`: always.
    pub minimum_difficulty_until: u32,
    /// Heights at which rules begin and end.
    pub gates: Gates,
    /// Known ids, by height.
    pub checkpoints: &'static [(u32, &'static str)],
}

/// Heights at which PacketCrypt's rules begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// Announcements of version 1 whose parent is below are refused.
    pub ann_v1_from: u32,
    /// Proofs of version 2 in blocks below are refused.
    pub proof_v2_from: u32,
    /// Proofs of versions 0 and 1 in blocks above are refused.
    pub proof_v01_until: u32,
}

impl Gates {
    /// As the reference has them, on every network.
    pub const REFERENCE: Self =
        Self { ann_v1_from: 103_869, proof_v2_from: 113_949, proof_v01_until: 122_621 };
    /// Version 1 in version 2 from the beginning: a network of one's own, as the chain of the vectors.
    pub const OPEN: Self =
        Self { ann_v1_from: 0, proof_v2_from: 0, proof_v01_until: Self::REFERENCE.proof_v01_until };
}

/// The main network.
pub const PKT: Network = Network {
    name: "pkt",
    magic: 0x082f_00fc,
    hrp: "pkt",
    pubkey_hash_version: 0x75,
    script_hash_version: 0x38,
    pow_limit: Compact(0x1f0f_ffff),
    genesis_bits: Compact(0x1f0f_ffff),
    minimum_difficulty_until: 50_000,
    gates: Gates::REFERENCE,
    checkpoints: CHECKPOINTS,
};

/// The test network.
pub const PKT_TEST: Network = Network {
    name: "pkttest",
    magic: 0x0709_11fc,
    hrp: "tpk",
    pubkey_hash_version: 0x6f,
    script_hash_version: 0xc4,
    pow_limit: Compact(0x1f0f_ffff),
    genesis_bits: Compact(0x1f0f_ffff),
    minimum_difficulty_until: u32::MAX,
    gates: Gates::REFERENCE,
    checkpoints: &[],
};

/// The test network's parameters with [`Gates::OPEN`].
pub const PKT_LAB: Network = Network { gates: Gates::OPEN, ..PKT_TEST };

/// A network that one process mines in passing: a block takes a try or two. Blocks that come late have half the work of
/// the others, so that the longest chain need not be the best.
pub const PKT_SIM: Network = Network {
    name: "pktsim",
    pow_limit: crate::compact::EASIEST,
    genesis_bits: Compact(0x203f_ffff),
    ..PKT_LAB
};

impl Network {
    /// All that addresses can be of.
    pub const ALL: [&'static Self; 2] = [&PKT, &PKT_TEST];

    /// The first block, which both public networks share. Its proof is never looked at by a node.
    #[must_use]
    pub fn genesis(&self) -> block::Header {
        block::Header {
            version: block::Version::from_consensus(0),
            prev_blockhash: BlockHash::all_zeros(),
            merkle_root: bitcoin::TxMerkleNode::from_byte_array(GENESIS_MERKLE_ROOT),
            time: 0,
            bits: bitcoin::CompactTarget::from_consensus(self.genesis_bits.0),
            nonce: 0,
        }
    }
}

/// Every 32 768th block of the main network, as the reference of 2024 has them.
const CHECKPOINTS: &[(u32, &str)] = &[
    (32_768, "9e2f78040c97b244fcbbf9dd528e02f3aaa54705d04408e3079ee98f427cb1fa"),
    (65_536, "26e5ca803a949a5ee09926a1042408e9c1ca0cfc4950c134791fa5eb2624183c"),
    (98_304, "8745c74b6a105b0173c076adc2728ffae48e6e1c8219e9ab7588e020a10e07cb"),
    (131_072, "7194f5f6210489ecd6bd0feb84fc72c00a4b4aed33e6e2da5a92faec94d56879"),
    (163_840, "3c8a1d44c35bdcde485e8e0238593c4228f40643a89ab02c8766dc837c24ae9d"),
    (196_608, "594567c710572b7ee01a3013d54efb4ca1a283d05ebbc24d206decb77aeef942"),
    (229_376, "28b4cdf10297b018acb97562dd985c7d5bdbdbb6121768e1cb9c9c7910193c41"),
    (262_144, "1d2d6ece172b67878cdc308aa9d2d1cb684d60f663fd820dd24aaaebc92e1450"),
    (294_912, "46ac9323f6a3dd96e69f9f49b26844054265d96265d8f5f7b45ad23ac042ca0f"),
    (327_680, "abaff3c0e48b822aec3fa4b3e40ddc3ac7121e1efa96c6883bb7217b49df3d2e"),
    (360_448, "c2ddcc7d981bca4a924e82b3dd54a05fd5f4aa72d9731e01b8a7ee570f128831"),
    (393_216, "a55d3d59fab43d8c28784dbaee31d3710be3fef2cab0fa02c77079bc88d62c95"),
    (425_984, "64ae244ff7ef2d6e907cb0cb953abda21087100e4450fc57e1166bf6961b7a04"),
    (458_752, "3a0668eaa7a1f89e7b5c8c87805f25877fe0e48ff0d28039fb34dc0cdee664f7"),
    (491_520, "74fb58760a49b5469aabc2b193d020d781ea170e4619e605d9dfd7214fa04f12"),
    (524_288, "4acf5a9646f521bb00f568036a4e739e7ecc10fdc12edd8146ab96e00666e0b8"),
    (557_056, "4dd9226548ddef3193c97da7ecbd1986a9d4d3a77a9fddbb38cc729c669e0e1a"),
    (589_824, "b8d2b39e2b6e50e36fa3f3c7890ae27fe6f5363d219dfec7c88ce50cc3466a4c"),
    (622_592, "e4b42f977d75346c1fd89cbf00feebeff3814a8d29dc96c0b137b6ede60431b6"),
    (655_360, "38c7905f4dacbd8101614f19c2a86b5344e993483b3ba1bfa84ef1124e543457"),
    (688_128, "91cb278fa7c0069d42e25785a78429bdbaceb19f753abdd63bff394dd2f04337"),
    (720_896, "fd089c041c2cd79b9f10239310f2f28e2157f7a0c2015b7f696ea35cf6b20082"),
    (753_664, "a4e1d2228a7e8acd2a6317389c70c09d475e334b3ad934d571d5bcb0253c03ab"),
    (786_432, "7ae9e5f968d75dc6b3dcb78a310dfc0628c3a2b3d209826ae8b247bfc3e718c6"),
    (819_200, "800f3cf026c650bd60b039f1d374a613c46eb283fe842b11c20c096af4a05174"),
    (851_968, "502b930a3df5456b822b1aea93df9ff04d4c506efb1243880882bdd391ff6e74"),
    (884_736, "96e707504ec446f8db5537f9570e097580f73776307714c984300433592f6c01"),
    (917_504, "36b4ec111b3552309229b9e9346a926bd7575eaa99a6d1560d675d0de1cbd153"),
    (950_272, "62c6b30afdf16b9bcf37f28f2cac5f2ced02dd29e523561ce244897e2f02cfa9"),
    (983_040, "f201f7bd254441c96d2a6646ab2ab17aaa44813b4d777739e958b3682aa073da"),
    (1_015_808, "31f6876a24b92b709b73e888a49565611b5fffd4a7b3c7d9e57567229f28e327"),
    (1_048_576, "7c498d0ce0da699f812163a21732f23735f6ae7b907da533fc885dbb60b49d90"),
    (1_081_344, "be78a867e38f605092ff792164e1a609714c0f439f0343f8fd7503c593eacf39"),
    (1_114_112, "7e04e0dc8f0b7cc736884d78d5d768fd1c981e50a6aedacc05458ec274178d8c"),
    (1_146_880, "fb2d9b65cd23f53ec0ff9102881f20f599ace34f9e7a2a6767a2f6127241bf5e"),
    (1_179_648, "fbfa6217f048698b0853c48232510693742edd93fca9929fe0d3e2c4459ecf4b"),
    (1_212_416, "ca081e2a8af161284e4436c591d1fdf75362e7ab44c6a9a42d22b3fc435ddfb0"),
    (1_245_184, "2da4585a5f97bf8d9d7ce24de51b918666c48096d02e3ecaeb2c16a04b6938be"),
    (1_277_952, "a468deb9c3f71ae85d5132dc2c18ffe1596e3aaeaabefc78274d29222589d9f0"),
    (1_310_720, "e7e0d190fedf330131673e3a7c554fae17324f0a335e8c1c6ed30b9f8143ea25"),
    (1_343_488, "caa62452841380e8d868e432d2d91765a83d2180a2e2ac14b154ca608df980d7"),
    (1_376_256, "7c412619ed1c3b516d20c1d74b4b31060e1650d5e05ec9865aa32e1a87ca6817"),
    (1_409_024, "09fbe7718260a4532e71c0ee385a8dac63c9ade79229e323123813644183dee3"),
    (1_441_792, "513a45eb329e46a0a8bf1ef0ce8be43173295abb26b68651888bb6d7350c5510"),
    (1_474_560, "2be0c1eb2bed850b75bc53c879d222abb78054e1a7c80dcf7619eaec4326a09f"),
    (1_507_328, "eae42cd7a3e7d5c086b325a24992961b4b7f78ac96174d9f39edebf7ecc0e55d"),
    (1_540_096, "361c5d7a76171e9caff6451d822c97256d68b7a87733bc95aa9cbe3aa3fd51ac"),
    (1_572_864, "2ede3892f6ff4874fbd4b98e4bcf3d4b1d72ee4dd43d6b210a84c73f0f3194cd"),
    (1_605_632, "d22f510e2494b97205e3e0c3f8340ed43b591d463789d2317c3043990ec42d7d"),
    (1_638_400, "92d029520cc265d87ff5e0c057d456d49dfbce91c46381da62c21abd5150ace6"),
    (1_671_168, "b7425861302ce3c984ae9fb9e264c001e126a30e2b5379fdc38605e1aeaec2b1"),
    (1_703_936, "7f4460239c77affe0e134b0a62ddeeb575ae2cd2b449f81c409380b1ea383f50"),
    (1_736_704, "418f787b9368fecb9d22378b5f75dd9e822487ee2e0f4f4831bb53273476b2f8"),
    (1_769_472, "1f65bab0bb4e6eda0525d9055e87c1b143bdd14a0d09c3281d4b046ccf55ba6e"),
    (1_802_240, "b9387767df9baf17f3c1ad99ed4fb3613b8bd863d4dcad70cbc7f967c335011e"),
    (1_835_008, "dcb6b8d1a85fa89b494fefe3dd738a8caad452e0ec09527fc2ab38c7901912e7"),
    (1_867_776, "85b45132326b3288abc29df1bf549679aa38731038abfc2e3be0725c35d17c5b"),
    (1_900_544, "6ecfecdfb9c87332f8bbba8e5b5e2ac2b4dc741798e59f47481dc64e5d1c2f72"),
    (1_933_312, "5ec4eef148936658209dc004362c051f2831195e14a1582423d7e2b82164a8d2"),
    (1_966_080, "028c2c38497130cad7a02eb0386270d9fc9cee2369171628b18d73dc0c40ef01"),
    (1_998_848, "a191a49bb963f4cbffabcded327c0bb8befcf9831be66460f1c250ca1fbec67e"),
    (2_031_616, "81a7dd047af88a512c10b3e8b2159aedc7a047cf07a428762744539526c436e2"),
    (2_064_384, "9e96647591bfddc8ec03aa1f9f885fc17fc56b319ad48d18079daffb5f689bab"),
    (2_097_152, "f83dc987e6b081e403956d4a0faabe67a291aa8025a8d372749fee3cb7184b6b"),
    (2_129_920, "689ef27b79fa2841d9cdc6a873d5c4ea77ae0488af33195f4bd213f391a0d135"),
    (2_162_688, "b4b9d23e9acbfacc2b62e7abd28bcde97b419b86e9454731df1ec931a6272d2d"),
    (2_195_456, "c39c8a3b140a3dc04ad6c824b0184aa95cc6fed6136deb5b0a1ee8a37f1e0418"),
    (2_228_224, "b64073ea002446c0dbed664f6ba05b9801282669a43cf1261fc923c67eb7c860"),
    (2_260_992, "3189252627c63e47790764157734d6badff2a628a099fea4b793c51adda4a114"),
];

const GENESIS_MERKLE_ROOT: [u8; 32] = [
    0xdf, 0x34, 0x5b, 0xa2, 0x3b, 0x13, 0x46, 0x7e, 0xec, 0x22, 0x2a, 0x91, 0x9d, 0x44, 0x9d, 0xab,
    0x65, 0x06, 0xab, 0xc5, 0x55, 0xef, 0x30, 0x77, 0x94, 0xec, 0xd3, 0xd3, 0x6a, 0xc8, 0x91, 0xfb,
];
