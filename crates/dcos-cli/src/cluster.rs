//! Which cluster a call goes to, from flags, environment and the directory that the original
//! clients share (`~/.dcos`).
//!
//! Reads only. Invariant: precedence is `--url`, `--cluster`, `DCOS_URL`, `DCOS_CLUSTER`, the
//! attached (or only) cluster, the local one that `dcosd dev up` left in `dev-cluster`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::args::Global;
use crate::error::{Failure, Result};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(180);
const SETUP_HINT: &str = "start one on this machine with `dcosd dev up`, or set DCOS_URL=http://<master>";

/// Where to send requests and as whom.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub url: String,
    pub token: Option<String>,
    pub timeout: Duration,
}

/// Values of the process environment that matter here.
pub struct Environment<'a>(pub &'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
    }
}

/// A configured cluster: the parts of its `dcos.toml` that are used here.
#[derive(Debug, Default, Clone)]
struct Configured {
    id: String,
    attached: bool,
    name: String,
    url: Option<String>,
    token: Option<String>,
    timeout: Option<u64>,
}

pub fn locate(global: &Global, env: &Environment<'_>) -> Result<Cluster> {
    let timeout = match env.text("DCOS_TIMEOUT") {
        Some(text) => Some(text.parse::<u64>().map_err(|_| {
            Failure::new(format!("DCOS_TIMEOUT is '{text}'")).hint("give whole seconds, 0 for no limit")
        })?),
        None => None,
    };
    let found = find(global, env)?;
    let Some(url) = found.url else {
        return Err(Failure::new(format!("cluster '{}' has no core.dcos_url in its dcos.toml", found.id)));
    };
    let seconds = timeout.or(found.timeout);
    Ok(Cluster {
        url: url.trim_end_matches('/').to_owned(),
        token: env.text("DCOS_ACS_TOKEN").or(found.token),
        timeout: match seconds {
            None => DEFAULT_TIMEOUT,
            Some(0) => Duration::MAX,
            Some(seconds) => Duration::from_secs(seconds),
        },
    })
}

fn find(global: &Global, env: &Environment<'_>) -> Result<Configured> {
    let by_url = |url: String| Configured { url: Some(url), ..Configured::default() };
    if let Some(url) = &global.url {
        return Ok(by_url(url.clone()));
    }
    let directory = directory(env);
    let clusters = || directory.as_deref().map_or_else(Vec::new, configured);
    if let Some(wanted) = &global.cluster {
        return named(clusters(), wanted);
    }
    if let Some(url) = env.text("DCOS_URL") {
        return Ok(by_url(url));
    }
    if let Some(wanted) = env.text("DCOS_CLUSTER") {
        return named(clusters(), &wanted);
    }
    let mut clusters = clusters();
    let attached = clusters.iter().filter(|cluster| cluster.attached).count();
    if attached > 1 {
        return Err(Failure::new("multiple clusters are attached").hint("choose one with --cluster <name>"));
    }
    if clusters.len() > 1 {
        clusters.retain(|cluster| cluster.attached);
    }
    if let Some(only) = clusters.pop() {
        return Ok(only);
    }
    let local = directory.and_then(|directory| fs::read_to_string(directory.join("dev-cluster")).ok());
    match local.as_deref().map(str::trim) {
        Some(url) if !url.is_empty() => Ok(by_url(url.to_owned())),
        _ => Err(Failure::new("no cluster is attached").hint(SETUP_HINT)),
    }
}

fn directory(env: &Environment<'_>) -> Option<PathBuf> {
    let set = (env.0)("DCOS_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = set.or_else(|| (env.0)("HOME").map(|home| PathBuf::from(home).join(".dcos")))?;
    Some(std::path::absolute(&path).unwrap_or(path))
}

fn named(clusters: Vec<Configured>, wanted: &str) -> Result<Configured> {
    let mut fits: Vec<Configured> =
        clusters.into_iter().filter(|cluster| cluster.name == wanted || cluster.id == wanted).collect();
    match (fits.pop(), fits.is_empty()) {
        (Some(cluster), true) => Ok(cluster),
        (Some(_), false) => Err(Failure::new(format!("multiple matches found for cluster '{wanted}'"))),
        (None, _) => Err(Failure::new(format!("no match found for cluster '{wanted}'")).hint(SETUP_HINT)),
    }
}

fn configured(directory: &Path) -> Vec<Configured> {
    let Ok(entries) = fs::read_dir(directory.join("clusters")) else { return Vec::new() };
    let mut found: Vec<Configured> = entries
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("dcos.toml")).ok()?;
            let mut cluster = read_toml(&text);
            cluster.id = entry.file_name().into_string().ok()?;
            cluster.attached = entry.path().join("attached").exists();
            Some(cluster)
        })
        .collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

/// Reads the flat `key = value` lines that the original clients write.
fn read_toml(text: &str) -> Configured {
    let mut found = Configured::default();
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.trim();
        } else if let Some((key, value)) = line.split_once('=') {
            match (section, key.trim()) {
                ("cluster", "name") => found.name = scalar(value).unwrap_or_default(),
                ("core", "dcos_url") => found.url = scalar(value),
                ("core", "dcos_acs_token") => found.token = scalar(value),
                ("core", "timeout") => found.timeout = scalar(value).and_then(|text| text.parse().ok()),
                _ => {}
            }
        }
    }
    found
}

fn scalar(value: &str) -> Option<String> {
    let value = value.trim();
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.split('\'').next().map(str::to_owned);
    }
    if value.starts_with('"') {
        // A TOML basic string without TOML's own escapes is a JSON string.
        return serde_json::Deserializer::from_str(value).into_iter::<String>().next()?.ok();
    }
    value.split('#').next().map(|bare| bare.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, id: &str, name: &str, attached: bool) {
        let cluster = directory.join("clusters").join(id);
        fs::create_dir_all(&cluster).unwrap();
        let toml = format!(
            "[cluster]\nname = \"{name}\"\n[core]\ndcos_url = \"http://{id}/\" # front door\n\
             dcos_acs_token = 'tok-{id}'\nssl_verify = \"true\"\ntimeout = 7\n"
        );
        fs::write(cluster.join("dcos.toml"), toml).unwrap();
        if attached {
            fs::write(cluster.join("attached"), "").unwrap();
        }
    }

    fn find(directory: &Path, global: Global, vars: &[(&str, &str)]) -> Result<Cluster> {
        let lookup = |name: &str| match name {
            "DCOS_DIR" => Some(directory.into()),
            _ => vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)),
        };
        locate(&global, &Environment(&lookup))
    }

    #[test]
    fn precedence_is_flag_environment_attached_local() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let error = find(dir, Global::default(), &[]).unwrap_err().to_string();
        assert!(error.starts_with("Error: no cluster is attached\n  hint: start one"), "{error}");
        fs::write(dir.join("dev-cluster"), "http://127.0.0.1:8000\n").unwrap();
        assert_eq!(find(dir, Global::default(), &[]).unwrap().url, "http://127.0.0.1:8000");
        write(dir, "one", "First", false);
        let only = find(dir, Global::default(), &[]).unwrap();
        assert_eq!((only.url.as_str(), only.token.as_deref()), ("http://one", Some("tok-one")));
        assert_eq!(only.timeout, Duration::from_secs(7));
        write(dir, "two", "Second", true);
        assert_eq!(find(dir, Global::default(), &[]).unwrap().url, "http://two");
        let named = [("DCOS_CLUSTER", "First")];
        assert_eq!(find(dir, Global::default(), &named).unwrap().url, "http://one");
        let both = [("DCOS_CLUSTER", "First"), ("DCOS_URL", "http://env"), ("DCOS_TIMEOUT", "0")];
        let env = find(dir, Global::default(), &both).unwrap();
        assert_eq!((env.url.as_str(), env.timeout), ("http://env", Duration::MAX));
        let global = Global { cluster: Some("two".into()), ..Global::default() };
        assert_eq!(find(dir, global, &both).unwrap().url, "http://two");
        let global = Global { url: Some("http://flag".into()), ..Global::default() };
        assert_eq!(find(dir, global, &both).unwrap().url, "http://flag");
    }

    #[test]
    fn what_is_ambiguous_or_unknown_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, "one", "Same", false);
        write(dir, "two", "Same", false);
        let fail = |global: Global| find(dir, global, &[]).unwrap_err().to_string();
        assert!(fail(Global::default()).starts_with("Error: no cluster is attached"));
        let by_name = |name: &str| Global { cluster: Some(name.into()), ..Global::default() };
        assert!(fail(by_name("Same")).starts_with("Error: multiple matches found"));
        assert!(fail(by_name("nope")).starts_with("Error: no match found"));
        fs::write(dir.join("clusters/one/attached"), "").unwrap();
        fs::write(dir.join("clusters/two/attached"), "").unwrap();
        assert!(fail(Global::default()).starts_with("Error: multiple clusters are attached"));
    }
}
