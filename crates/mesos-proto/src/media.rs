//! Which format a request is in and which one its answer takes, from the headers. The status codes are named here and
//! chosen by who answers.

pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/x-protobuf";
pub const RECORDIO: &str = "application/recordio";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    Protobuf,
}

impl Format {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Protobuf => PROTOBUF,
        }
    }
}

/// A body: one message, or records with the length before each and a content type of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Body {
    Whole(Format),
    Records(Format),
}

impl Body {
    pub fn format(self) -> Format {
        match self {
            Self::Whole(format) | Self::Records(format) => format,
        }
    }

    /// `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Whole(format) => format.media_type(),
            Self::Records(_) => RECORDIO,
        }
    }

    /// `Message-Content-Type`.
    pub fn message_content_type(self) -> Option<&'static str> {
        match self {
            Self::Whole(_) => None,
            Self::Records(format) => Some(format.media_type()),
        }
    }
}

/// Why a request cannot be taken or answered; the texts are the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// 400
    #[error("Expecting 'Content-Type' to be present")]
    NoContentType,
    /// 415
    #[error("Expecting 'Content-Type' of {JSON} or {PROTOBUF}")]
    ContentType,
    /// 415
    #[error("Expecting 'Content-Type' of {JSON} or {PROTOBUF} or {RECORDIO}")]
    ContentTypeOrRecords,
    /// 400
    #[error("Expecting 'Message-Content-Type' to be set for streaming requests")]
    NoMessageContentType,
    /// 415
    #[error("Expecting 'Message-Content-Type' of {JSON} or {PROTOBUF}")]
    MessageContentType,
    /// 415
    #[error("Expecting 'Message-Content-Type' to be not set for non-streaming requests")]
    SurplusMessageContentType,
    /// 406
    #[error("Expecting 'Accept' to allow '{PROTOBUF}' or '{JSON}'")]
    Accept,
    /// 406
    #[error("Expecting 'Accept' to allow '{JSON}' or '{PROTOBUF}' or '{RECORDIO}'")]
    AcceptOrRecords,
    /// 406
    #[error("Expecting 'Message-Accept' to allow '{JSON}' or '{PROTOBUF}'")]
    MessageAccept,
    /// 406
    #[error("Expecting 'Message-Accept' to be not set for non-streaming responses")]
    SurplusMessageAccept,
}

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400
    BadRequest,
    /// 415
    UnsupportedMediaType,
    /// 406
    NotAcceptable,
}

impl MediaError {
    pub fn refusal(self) -> Refusal {
        match self {
            Self::NoContentType | Self::NoMessageContentType => Refusal::BadRequest,
            Self::ContentType
            | Self::ContentTypeOrRecords
            | Self::MessageContentType
            | Self::SurplusMessageContentType => Refusal::UnsupportedMediaType,
            Self::Accept | Self::AcceptOrRecords | Self::MessageAccept | Self::SurplusMessageAccept => {
                Refusal::NotAcceptable
            }
        }
    }
}

/// The format of a call to the master or of an executor.
pub fn request(content_type: Option<&str>) -> Result<Format, MediaError> {
    let value = content_type.ok_or(MediaError::NoContentType)?;
    format(value).ok_or(MediaError::ContentType)
}

/// The format of a call to the agent's operator API, where a body may be a stream of records.
pub fn agent_request(
    content_type: Option<&str>,
    message_content_type: Option<&str>,
) -> Result<Body, MediaError> {
    let value = content_type.ok_or(MediaError::NoContentType)?;
    if is(value, RECORDIO) {
        let value = message_content_type.ok_or(MediaError::NoMessageContentType)?;
        return format(value).map(Body::Records).ok_or(MediaError::MessageContentType);
    }
    let whole = format(value).ok_or(MediaError::ContentTypeOrRecords)?;
    match message_content_type {
        Some(_) => Err(MediaError::SurplusMessageContentType),
        None => Ok(Body::Whole(whole)),
    }
}

/// The format of an answer or of an event stream: JSON if it is accepted.
pub fn response(accept: Option<&str>) -> Result<Format, MediaError> {
    accepted_format(accept).ok_or(MediaError::Accept)
}

/// The format of an answer of the agent's operator API: JSON, then protobuf, then records, as far as accepted.
pub fn agent_response(accept: Option<&str>, message_accept: Option<&str>) -> Result<Body, MediaError> {
    if let Some(format) = accepted_format(accept) {
        return match message_accept {
            Some(_) => Err(MediaError::SurplusMessageAccept),
            None => Ok(Body::Whole(format)),
        };
    }
    if !accepts(accept, RECORDIO) {
        return Err(MediaError::AcceptOrRecords);
    }
    accepted_format(message_accept).map(Body::Records).ok_or(MediaError::MessageAccept)
}

fn format(content_type: &str) -> Option<Format> {
    [Format::Json, Format::Protobuf].into_iter().find(|format| is(content_type, format.media_type()))
}

fn accepted_format(accept: Option<&str>) -> Option<Format> {
    [Format::Json, Format::Protobuf].into_iter().find(|format| accepts(accept, format.media_type()))
}

/// Whether a `Content-Type` names this media type; parameters like `charset` do not matter.
pub fn is(content_type: &str, media_type: &str) -> bool {
    let name = content_type.split(';').next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case(media_type)
}

/// Whether an `Accept` header allows this media type. None allows everything. Preferences do not matter, but the most
/// specific range counts, and with `q=0` it forbids.
pub fn accepts(accept: Option<&str>, media_type: &str) -> bool {
    let Some(accept) = accept else { return true };
    let kind = media_type.split('/').next().unwrap_or_default();
    let mut best = (0, false);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let precision = match name.split_once('/') {
            Some(("*", "*")) => 1,
            Some((of, "*")) if of.eq_ignore_ascii_case(kind) => 2,
            _ if name.eq_ignore_ascii_case(media_type) => 3,
            _ => continue,
        };
        let forbidden = parts.filter_map(|parameter| parameter.split_once('=')).any(|(key, value)| {
            key.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f64>().is_ok_and(|q| q <= 0.0)
        });
        if precision >= best.0 {
            best = (precision, !forbidden);
        }
    }
    best.1
}
