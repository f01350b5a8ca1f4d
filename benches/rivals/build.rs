//! Compiles the C side of Intel's library, whose interface is macros, and names the libraries.

fn main() {
    println!("cargo::rerun-if-changed=src/ipsec_mb.c");
    println!("cargo::rustc-link-lib=IPSec_MB");
    println!("cargo::rustc-link-lib=sodium");
    cc::Build::new().file("src/ipsec_mb.c").opt_level(2).warnings(true).compile("ipsec_mb_shim");
}
