//! What an agent finds on its node when it is not told.
//!
//! Rules: `apache/mesos` `src/slave/containerizer/containerizer.cpp`; port ranges
//! as DC/OS gives them to agents.

use std::path::Path;

use anyhow::{Context, bail};
use model::{Attribute, AttributeValue, Quantity, Resources, Role};

const PRIVATE_PORTS: &str = "[1025-2180, 2182-3887, 3889-5049, 5052-8079, 8082-8180, 8182-32000]";
const PUBLIC_PORTS: &str = "[1-21, 23-5050, 5052-32000]";
const PLAIN_PORTS: &str = "[31000-32000]";

/// The resources text given, or the whole machine less what the node itself needs.
pub fn resources(given: Option<&str>, data_dir: &Path, role: &Role, root: bool) -> anyhow::Result<Resources> {
    if let Some(text) = given {
        return Resources::parse(text, role).context("reading --resources");
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mem = leave_some(memory_mib()?, 1024, 2048);
    let disk = leave_some(disk_mib(data_dir)?, 5 * 1024, 10 * 1024);
    let ports = match (root, role.is_any()) {
        (false, _) => PLAIN_PORTS,
        (true, true) => PRIVATE_PORTS,
        (true, false) => PUBLIC_PORTS,
    };
    let text = format!("cpus:{cpus};mem:{mem};disk:{disk};ports:{ports}");
    Resources::parse(&text, role).with_context(|| format!("detected {text}"))
}

/// What is given out beside all others until further notice.
pub fn revocable(text: &str) -> anyhow::Result<Resources> {
    let given = Resources::parse(text, &Role::any()).context("reading --revocable-resources")?;
    let mut revocable = Resources::new();
    for resource in given.iter() {
        if !resource.is_unreserved() || resource.name == *"disk" {
            bail!("--revocable-resources: {} is reserved or disk, which cannot be taken back", resource.name);
        }
        revocable.add_one(model::Resource { revocable: true, ..resource.clone() });
    }
    Ok(revocable)
}

/// All but `keep`, or half of a small machine.
fn leave_some(total: u64, keep: u64, small: u64) -> u64 {
    if total < small { total / 2 } else { total - keep }.max(1)
}

fn memory_mib() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .context("no MemTotal in /proc/meminfo")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("MemTotal of /proc/meminfo")?;
    Ok(kib / 1024)
}

fn disk_mib(dir: &Path) -> anyhow::Result<u64> {
    let stat =
        rustix::fs::statvfs(dir).with_context(|| format!("looking at the disk of {}", dir.display()))?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize) / (1024 * 1024))
}

/// Reads `name:value;…`: numbers, ranges, sets, else text.
pub fn attributes(text: &str) -> anyhow::Result<Vec<Attribute>> {
    let mut attributes = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, value)) = part.split_once(':') else {
            bail!("--attributes: {part:?} is not name:value; write for instance rack:r1;ssd:true");
        };
        let value = value.trim();
        let value = match value.parse::<f64>().ok().and_then(Quantity::from_f64) {
            Some(number) => AttributeValue::Scalar(number),
            None => AttributeValue::Text(value.to_owned()),
        };
        attributes.push(Attribute { name: name.trim().to_owned(), value });
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_machines_keep_half() {
        assert_eq!(leave_some(1500, 1024, 2048), 750);
        assert_eq!(leave_some(4096, 1024, 2048), 3072);
    }

    #[test]
    fn attributes_are_typed() {
        let read = attributes("rack:r1; weight:2.5").unwrap();
        assert_eq!(read[0].value, AttributeValue::Text("r1".to_owned()));
        assert_eq!(read[1].value, AttributeValue::Scalar(Quantity::from_milli(2500)));
        assert!(attributes("nonsense").unwrap_err().to_string().contains("nonsense"));
    }
}
