//! The `taskStats` of an app.

use std::sync::Arc;

use marathon::AppDefinition;
use marathon::state::Instance;
use model::{TaskState, Time};
use serde_json::{Map, Value, json};

/// Each group of tasks is there only when it has tasks.
pub(super) fn stats(definition: &AppDefinition, instances: &[Arc<Instance>], now: Time) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, chosen: Vec<&Instance>| {
        if !chosen.is_empty() {
            out.insert(name.to_owned(), json!({ "stats": summary(&chosen, now) }));
        }
    };
    let all = || instances.iter().map(|instance| &**instance);
    put("startedAfterLastScaling", all().filter(|i| i.staged > definition.last_scaling).collect());
    let latest = |i: &&Instance| i.config == definition.last_config_change;
    put("withLatestConfig", all().filter(latest).collect());
    put("withOutdatedConfig", all().filter(|i| !latest(i)).collect());
    put("totalSummary", all().collect());
    Value::Object(out)
}

fn summary(instances: &[&Instance], now: Time) -> Value {
    let staged =
        instances.iter().filter(|i| matches!(i.state, TaskState::Staging | TaskState::Starting)).count();
    let running = instances.iter().filter(|i| i.is_running()).count();
    let mut out = Map::new();
    let counts = json!({ "staged": staged, "running": running, "healthy": 0, "unhealthy": 0 });
    out.insert("counts".to_owned(), counts);
    let started = instances.iter().filter(|i| i.is_running()).filter_map(|i| i.started);
    let mut seconds: Vec<f64> = started.map(|started| now.since(started).as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    if !seconds.is_empty() {
        // Counts are far below 2^53: the division is exact enough.
        let average = seconds.iter().sum::<f64>() / seconds.len() as f64;
        let median = seconds[seconds.len() / 2];
        out.insert("lifeTime".to_owned(), json!({ "averageSeconds": average, "medianSeconds": median }));
    }
    Value::Object(out)
}
