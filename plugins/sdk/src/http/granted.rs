//! The gateway's client over `wasi:http`.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, OutgoingBody, OutgoingRequest, Scheme,
};
use wasip2::io::streams::{InputStream, StreamError};

use super::{Body, Client, Error, Granted, Method, Pieces, Request, Response, origin};

/// How much of a body is asked for at once: as much as the gateway hands over in one piece.
const PIECE: u64 = 64 << 10;

/// A body on its way in. The stream is dropped before the body that it is a child of.
struct Incoming {
    stream: InputStream,
    _body: IncomingBody,
    origin: String,
}

impl Client for Granted {
    fn send(&self, request: &Request<'_>) -> Result<Response, Error> {
        let origin = origin(&request.url).to_owned();
        let outgoing = head(request)?;
        let body = outgoing
            .body()
            .map_err(|()| Error::Invalid("it has two bodies".into()))?;
        // Without options: the gateway has its own time limits for a connection and for the call.
        let answer = outgoing_handler::handle(outgoing, None).map_err(|code| failure(code, &origin))?;
        // A server may answer before it has the whole body, and then stops reading it (413).
        let sent = send_body(body, request.body, &origin);
        let response = match wait(&answer, &origin) {
            Ok(response) => response,
            Err(error) => return Err(sent.err().unwrap_or(error)),
        };
        let status = response.status();
        let headers = response.headers().entries();
        let broken = || Error::Broken {
            origin: origin.clone(),
            detail: "its body was taken before".into(),
        };
        let body = response.consume().map_err(|()| broken())?;
        let stream = body.stream().map_err(|()| broken())?;
        Ok(Response {
            status,
            headers,
            body: Body::new(Incoming {
                stream,
                _body: body,
                origin,
            }),
        })
    }
}

impl Pieces for Incoming {
    fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.stream.blocking_read(PIECE) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(StreamError::Closed) => return Ok(None),
                Err(StreamError::LastOperationFailed(error)) => {
                    let detail = error.to_debug_string();
                    return Err(Error::Broken {
                        origin: self.origin.clone(),
                        detail,
                    });
                }
            }
        }
    }
}

fn head(request: &Request<'_>) -> Result<OutgoingRequest, Error> {
    let (scheme, rest) = if let Some(rest) = request.url.strip_prefix("http://") {
        (Scheme::Http, rest)
    } else if let Some(rest) = request.url.strip_prefix("https://") {
        (Scheme::Https, rest)
    } else {
        return Err(Error::Invalid(format!(
            "{}: the URL has to begin with http:// or https://",
            request.url
        )));
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let headers = Fields::new();
    for (name, value) in &request.headers {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| Error::Invalid(format!("header `{name}`: {error}")))?;
    }
    if !request.body.is_empty() {
        let length = request.body.len().to_string();
        headers
            .append("content-length", length.as_bytes())
            .map_err(|error| Error::Invalid(format!("header `content-length`: {error}")))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method {
        Method::Get => wasip2::http::types::Method::Get,
        Method::Post => wasip2::http::types::Method::Post,
        Method::Put => wasip2::http::types::Method::Put,
        Method::Delete => wasip2::http::types::Method::Delete,
    };
    let invalid =
        |part: &'static str| move |()| Error::Invalid(format!("{}: the {part} is not valid", request.url));
    outgoing.set_method(&method).map_err(invalid("method"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(invalid("scheme"))?;
    outgoing.set_authority(Some(authority)).map_err(invalid("host"))?;
    outgoing
        .set_path_with_query(Some(&path))
        .map_err(invalid("path"))?;
    Ok(outgoing)
}

/// Writes the body as the gateway takes it: `blocking-write-and-flush` would be one call for each
/// 4 KiB.
fn send_body(body: OutgoingBody, mut bytes: &[u8], origin: &str) -> Result<(), Error> {
    let broken = |detail: &str| Error::Broken {
        origin: origin.to_owned(),
        detail: detail.to_owned(),
    };
    let stream = body.write().map_err(|()| broken("the body can't be written"))?;
    let failed = |error: StreamError| match error {
        StreamError::Closed => broken("it stopped reading the request"),
        StreamError::LastOperationFailed(error) => broken(&error.to_debug_string()),
    };
    while !bytes.is_empty() {
        let permit = usize::try_from(stream.check_write().map_err(failed)?).unwrap_or(usize::MAX);
        if permit == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(permit.min(bytes.len()));
        stream.write(now).map_err(failed)?;
        bytes = later;
    }
    stream.blocking_flush().map_err(failed)?;
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|code| failure(code, origin))
}

fn wait(
    answer: &FutureIncomingResponse,
    origin: &str,
) -> Result<wasip2::http::types::IncomingResponse, Error> {
    loop {
        match answer.get() {
            None => answer.subscribe().block(),
            Some(Ok(Ok(response))) => return Ok(response),
            Some(Ok(Err(code))) => return Err(failure(code, origin)),
            Some(Err(())) => {
                return Err(Error::Broken {
                    origin: origin.to_owned(),
                    detail: "the answer was taken before".into(),
                });
            }
        }
    }
}

fn failure(code: ErrorCode, origin: &str) -> Error {
    let origin = origin.to_owned();
    let detail = match &code {
        ErrorCode::InternalError(Some(text)) => text.clone(),
        ErrorCode::ConnectionRefused => "connection refused".to_owned(),
        other => format!("{other:?}").replace("ErrorCode::", ""),
    };
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            Error::NotGranted { origin, detail }
        }
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => Error::Timeout { origin, detail },
        ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionLimitReached
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_) => Error::Unreachable { origin, detail },
        _ => Error::Broken { origin, detail },
    }
}
