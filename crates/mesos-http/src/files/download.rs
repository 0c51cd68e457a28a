//! `/files/download`: a whole file, in chunks, with its length.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http_body::{Frame, SizeHint};
use rustix::fs::FileType;
use tokio::io::{AsyncRead, ReadBuf};

use super::attach::Attached;
use super::media;
use super::open::open_inside;
use crate::reply::Refusal;

const CHUNK_SIZE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Source {
    file: File,
    size: u64,
    name: String,
    media: &'static str,
}

pub(super) fn open(attached: &Attached, path: &[u8]) -> Result<Source, Refusal> {
    let resolved = attached.resolve(path).ok_or_else(Refusal::not_found)?;
    let opened = open_inside(&resolved)?;
    match opened.kind() {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Refusal::bad_request("Cannot download a directory.\n".to_owned())),
        _ => return Err(Refusal::bad_request("Cannot download what is not a regular file.\n".to_owned())),
    }
    let size = opened.size();
    let name = opened.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let media =
        opened.path.extension().and_then(|extension| extension.to_str()).map_or(media::UNKNOWN, media::of);
    Ok(Source { file: File::from(opened.fd), size, name, media })
}

pub(super) fn response(source: Source) -> Response {
    let Source { file, size, name, media } = source;
    let mut response =
        Response::new(Body::new(FileBody { file: tokio::fs::File::from_std(file), left: size }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_DISPOSITION, disposition(&name));
    response
}

/// The bare name where it is a token, else quoted with what a header cannot say replaced.
fn disposition(name: &str) -> HeaderValue {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let text = if !name.is_empty() && name.chars().all(plain) {
        format!("attachment; filename={name}")
    } else {
        let safe = |c: char| if (' '..='~').contains(&c) && c != '"' && c != '\\' { c } else { '_' };
        format!("attachment; filename=\"{}\"", name.chars().map(safe).collect::<String>())
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("attachment"))
}

/// The first `left` bytes of a file that may be growing.
struct FileBody {
    file: tokio::fs::File,
    left: u64,
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let mut buffer = vec![0; usize::try_from(this.left).unwrap_or(CHUNK_SIZE).min(CHUNK_SIZE)];
        let mut reading = ReadBuf::new(&mut buffer);
        match ready!(Pin::new(&mut this.file).poll_read(cx, &mut reading)) {
            Err(error) => Poll::Ready(Some(Err(error))),
            Ok(()) => {
                let filled = reading.filled().len();
                if filled == 0 {
                    let error = io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the file became shorter while it was sent",
                    );
                    return Poll::Ready(Some(Err(error)));
                }
                buffer.truncate(filled);
                this.left -= filled as u64;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(buffer)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_headers() {
        for (name, expected) in [
            ("stdout", "attachment; filename=stdout"),
            ("a b.txt", "attachment; filename=\"a b.txt\""),
            ("x\"\r\nSet-Cookie: y", "attachment; filename=\"x___Set-Cookie: y\""),
            ("\u{e9}", "attachment; filename=\"_\""),
        ] {
            assert_eq!(disposition(name), expected);
        }
    }
}
