//! Builds the containers' first process (`init/init.rs`) for the target, without libc or std.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=init/init.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let variable =
        |name: &str| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name} for build scripts"));
    let output = PathBuf::from(variable("OUT_DIR")).join("dcos-init");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-name", "dcos_init", "--crate-type", "bin", "--target"]);
    rustc.arg(variable("TARGET"));
    rustc.args([
        "-Copt-level=s",
        "-Cpanic=abort",
        "-Crelocation-model=static",
        "-Cstrip=symbols",
        "-Cdebuginfo=0",
    ]);
    for argument in
        ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,norelro"]
    {
        rustc.arg(format!("-Clink-arg={argument}"));
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg({
            let mut option = std::ffi::OsString::from("linker=");
            option.push(linker);
            option
        });
    }
    rustc.arg("-o").arg(&output).arg("init/init.rs");
    let status =
        rustc.status().unwrap_or_else(|error| panic!("cannot run rustc to build init/init.rs: {error}"));
    assert!(status.success(), "building init/init.rs failed: {status}");
}
