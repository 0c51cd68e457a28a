//! `/tasks`: live, unreachable and completed tasks by the time of their first status.

use std::cmp::Reverse;
use std::sync::Arc;

use mesos_master::MasterView;
use mesos_master::state::Task;
use model::Time;

use super::state::task;
use super::summary::all_tasks;
use crate::query::Query;
use crate::reply::Refusal;
use crate::stream::{Part, put};

const LIMIT_DEFAULT: usize = 100;

/// What of the list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    limit: usize,
    offset: usize,
    ascending: bool,
    framework_id: Option<String>,
    task_id: Option<String>,
}

impl Page {
    pub fn of(query: &Query) -> Result<Self, Refusal> {
        let ascending = match query.text("order").as_deref() {
            None | Some("des" | "desc" | "") => false,
            Some("asc") => true,
            Some(other) => {
                let shown: String = other.chars().take(40).collect();
                return Err(Refusal::bad_request(format!(
                    "Invalid order '{shown}': expecting 'asc' or 'des'.\n"
                )));
            }
        };
        let text = |name: &str| query.text(name).map(|value| value.into_owned());
        Ok(Self {
            limit: count(query, "limit")?.unwrap_or(LIMIT_DEFAULT),
            offset: count(query, "offset")?.unwrap_or(0),
            ascending,
            framework_id: text("framework_id"),
            task_id: text("task_id"),
        })
    }
}

pub(super) fn tasks(view: &MasterView, page: &Page) -> Vec<Part> {
    let Page { limit, offset, ascending, framework_id, task_id } = page;
    let mut chosen: Vec<&Arc<Task>> = view
        .frameworks
        .iter()
        .chain(&view.completed_frameworks)
        .filter(|framework| framework_id.as_deref().is_none_or(|id| id == framework.id.as_str()))
        .flat_map(|framework| all_tasks(framework))
        .filter(|task| task_id.as_deref().is_none_or(|id| id == task.info.id.as_str()))
        .collect();
    if *ascending {
        chosen.sort_by_key(|task| first_status(task));
    } else {
        chosen.sort_by_key(|task| Reverse(first_status(task)));
    }
    let page: Vec<Arc<Task>> = chosen.into_iter().skip(*offset).take(*limit).cloned().collect();
    let list = Part::items(page.len(), move |i, out| put(out, &task(&page[i])));
    vec![Part::text("{\"tasks\":["), list, Part::text("]}")]
}

/// Tasks without a status sort first, as the original has it.
fn first_status(task: &Task) -> Option<Time> {
    task.statuses.first().map(|status| status.timestamp)
}

fn count(query: &Query, name: &str) -> Result<Option<usize>, Refusal> {
    let Some(value) = query.integer(name)? else { return Ok(None) };
    usize::try_from(value)
        .map(Some)
        .map_err(|_| Refusal::bad_request(format!("Negative {name} provided: {value}.\n")))
}
