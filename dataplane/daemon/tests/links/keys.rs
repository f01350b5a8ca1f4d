//! Throw-away keys of `crypto.json`: private, public.

pub(crate) const KEYS: [(&str, &str); 3] = [
    (
        "362fdea918cefe8849a0464237a7e012da74165e32e4f6edb1ab5bc56050753c",
        "lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k",
    ),
    (
        "e2170a3922f985a9703664ea113ab006779a401844377c7fbf9750d0c281518c",
        "t98pkkmwr1ryucw3896d8b43r7sfq8fhvysr03k4v7q2s4nfx7x0.k",
    ),
    (
        "c5ba851faad1d71c7cb7dabd71333bdde0bbbaa26724221385f5decf3d57220f",
        "ghswwl4ckvbbfuw7z00ddn7h13t6n78dy8ssqpmrg5xtb50g4m00.k",
    ),
];
