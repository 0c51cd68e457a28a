//! Refuses request paths that two parties could read differently.
//!
//! Routes are matched on the raw path and upstreams get the raw remainder, so encoded bytes
//! survive (`slave%281%29`, ids with `%2F`). That is safe only if no reading of the path,
//! decoded or not, climbs out of its prefix. Invariant: an accepted path has no segment
//! that is `.` or `..` after decoding, taking `/`, `\` and their encodings as separators.

/// Why a path was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path must begin with '/'")]
    Relative,
    #[error("the path contains a '.' or '..' segment; send the resolved path")]
    Dots,
    #[error("the path contains an encoded NUL byte or control character")]
    Control,
    #[error("the path contains a '%' that is not followed by two hexadecimal digits")]
    Encoding,
}

pub fn check(path: &str) -> Result<(), PathError> {
    if !path.starts_with('/') {
        return Err(PathError::Relative);
    }
    let mut segment = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let decoded = if byte == b'%' { hex(bytes.next(), bytes.next())? } else { byte };
        match decoded {
            b'/' | b'\\' => refuse_dots(&std::mem::take(&mut segment))?,
            0..=31 | 127 => return Err(PathError::Control),
            other => segment.push(other),
        }
    }
    refuse_dots(&segment)
}

fn hex(high: Option<u8>, low: Option<u8>) -> Result<u8, PathError> {
    let digit = |byte: Option<u8>| byte.and_then(|b| (b as char).to_digit(16));
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => u8::try_from(high * 16 + low).map_err(|_| PathError::Encoding),
        _ => Err(PathError::Encoding),
    }
}

fn refuse_dots(segment: &[u8]) -> Result<(), PathError> {
    // Some servers cut a `;parameter` before they resolve dots.
    let name = segment.split(|b| *b == b';').next().unwrap_or(segment);
    if matches!(name, b"." | b"..") { Err(PathError::Dots) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_refused_in_every_spelling() {
        for path in [
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a%2f..%2fb",
            "/a/..;x/b",
            "/a\\..\\b",
            "/service/marathon/..%5cx",
        ] {
            assert_eq!(check(path), Err(PathError::Dots), "{path}");
        }
    }

    #[test]
    fn ordinary_and_encoded_paths_pass() {
        for path in [
            "/",
            "//a",
            "/a/b/",
            "/slave/x/slave%281%29/state",
            "/v2/apps/%2Fa%2Fb",
            "/a...b/..c",
            "/pods/p::status",
            "/v2/apps//web",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    proptest::proptest! {
        /// However often an accepted path is decoded, it names nothing above its prefix.
        #[test]
        fn an_accepted_path_never_climbs(path in r"/([ab./\\;%25eEfFcC]|%2[eEfF]|%5[cC]){0,24}") {
            if check(&path).is_ok() {
                let mut decoded = path.to_lowercase();
                for (from, to) in [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("\\", "/")] {
                    decoded = decoded.replace(from, to);
                }
                for segment in decoded.split('/') {
                    let name = segment.split(';').next().unwrap_or_default();
                    assert!(name != "." && name != "..", "{path}");
                }
            }
        }

        #[test]
        fn any_text_is_answered(path in ".{0,40}") {
            let _ = check(&path);
            if let Some(found) = crate::routes::find(&path) {
                assert!(found.rest.starts_with('/') && !found.rest.starts_with("//"));
            }
        }
    }

    #[test]
    fn broken_encodings_and_controls_are_refused() {
        assert_eq!(check("/a%0"), Err(PathError::Encoding));
        assert_eq!(check("/a%zz"), Err(PathError::Encoding));
        assert_eq!(check("/a%00"), Err(PathError::Control));
        assert_eq!(check("/a%0d%0ab"), Err(PathError::Control));
        assert_eq!(check("*"), Err(PathError::Relative));
    }
}
