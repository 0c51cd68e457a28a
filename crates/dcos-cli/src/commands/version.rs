//! `dcos --version`.

use std::time::Duration;

use crate::args::Global;
use crate::error::Result;
use crate::http::Client;
use crate::json::Doc;
use crate::output;

const PATIENCE: Duration = Duration::from_secs(3);

pub async fn run(global: &Global) -> Result<()> {
    let mut text = format!("dcoscli.version={}\n", env!("CARGO_PKG_VERSION"));
    if let Ok(cluster) = super::cluster(global) {
        let asked =
            async { Client::new(cluster, global.verbose)?.get("/dcos-metadata/dcos-version.json").await };
        let said = tokio::time::timeout(PATIENCE, asked).await.ok().and_then(Result::ok).unwrap_or(Doc::Null);
        let names = [
            ("dcos.version", "version"),
            ("dcos.variant", "dcos-variant"),
            ("dcos.commit", "dcos-image-commit"),
            ("dcos.bootstrap-id", "bootstrap-id"),
        ];
        for (name, key) in names {
            let value = Some(said.get(key).text()).filter(|text| !text.is_empty()).unwrap_or("N/A");
            text.push_str(&format!("{name}={value}\n"));
        }
    }
    output::print(&text)
}
