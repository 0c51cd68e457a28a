//! Capability sets as bit masks.

/// What a container of an image keeps, by default: the set Docker users expect.
pub const CONTAINER_CAPABILITIES: u64 = 1 << 0 // chown
    | 1 << 1 // dac_override
    | 1 << 3 // fowner
    | 1 << 4 // fsetid
    | 1 << 5 // kill
    | 1 << 6 // setgid
    | 1 << 7 // setuid
    | 1 << 8 // setpcap
    | 1 << 10 // net_bind_service
    | 1 << 13 // net_raw
    | 1 << 18 // sys_chroot
    | 1 << 27 // mknod
    | 1 << 29 // audit_write
    | 1 << 31; // setfcap

/// The capabilities this process may still give away: permitted and in the bounding set.
pub fn available() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).ok()
    };
    mask("CapPrm").unwrap_or(0) & mask("CapBnd").unwrap_or(0)
}
