//! Which ids are allowed.

use crate::v1;

/// Bytes of the id of a task, executor, agent, framework or persistent volume.
pub const ID_BYTES_MAX: usize = 255;

/// Bytes of each part of a container's id; with the names around it a path has to stay within the file system's limit.
pub const CONTAINER_ID_BYTES_MAX: usize = 242;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("ID must not be empty; 1 to {limit} bytes are allowed")]
    Empty { limit: usize },
    #[error("ID has {length} bytes; 1 to {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("'{0}' is disallowed as an ID: it is a directory's own name")]
    Dots(String),
    #[error("'{id}' contains invalid characters: {character:?} is not allowed in an ID")]
    Character { id: String, character: char },
}

/// The rule of the ids of tasks, executors, agents, frameworks and persistent volumes.
pub fn check(id: &str) -> Result<(), IdError> {
    check_within(id, ID_BYTES_MAX, |_| false)
}

/// The rule of containers' ids, for the container and all that it lies in.
pub fn check_container(id: &v1::ContainerId) -> Result<(), IdError> {
    let mut id = Some(id);
    while let Some(part) = id {
        check_within(&part.value, CONTAINER_ID_BYTES_MAX, |character| matches!(character, '.' | ' '))?;
        id = part.parent.as_deref();
    }
    Ok(())
}

fn check_within(id: &str, limit: usize, forbidden: impl Fn(char) -> bool) -> Result<(), IdError> {
    match id {
        "" => return Err(IdError::Empty { limit }),
        "." | ".." => return Err(IdError::Dots(id.to_owned())),
        _ => {}
    }
    if id.len() > limit {
        return Err(IdError::TooLong { length: id.len(), limit });
    }
    // The original looks at bytes: only those of ASCII count as control characters.
    let bad = |character: char| {
        character.is_ascii_control() || matches!(character, '/' | '\\') || forbidden(character)
    };
    match id.chars().find(|character| bad(*character)) {
        Some(character) => Err(IdError::Character { id: id.to_owned(), character }),
        None => Ok(()),
    }
}
