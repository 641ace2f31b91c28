//! What the caller sends and what it wants back, from its headers.

use crate::reply::{Problem, Reason};
use axum::http::{HeaderMap, header};
use tandem_beacon::ForkName;

/// The two forms in which everything travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Ssz,
}

impl Form {
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ssz => "application/octet-stream",
        }
    }
}

/// A header that must not be there twice.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut all = headers.get_all(name).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(Problem::new(Reason::BadHeader, format!("{name} is given twice")));
    }
    let text = |v: &'a axum::http::HeaderValue| {
        v.to_str().map_err(|_| Problem::new(Reason::BadHeader, format!("{name} is not plain text")))
    };
    first.map(text).transpose()
}

/// The form of a body, by its content type. Compressed bodies are not read.
pub(crate) fn content_form(headers: &HeaderMap) -> Result<Form, Problem> {
    let wrong = |what: String| Problem::new(Reason::WrongContentType, what);
    if let Some(encoding) = single(headers, "content-encoding")?
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(wrong(format!("content encoding {encoding:?} is not read")));
    }
    let given = single(headers, "content-type")?.ok_or_else(|| wrong("Content-Type is missing".into()))?;
    let media = given.split(';').next().unwrap_or_default().trim();
    match () {
        () if media.eq_ignore_ascii_case(Form::Json.media_type()) => Ok(Form::Json),
        () if media.eq_ignore_ascii_case(Form::Ssz.media_type()) => Ok(Form::Ssz),
        () => Err(wrong(format!("{media:?} is not read: send application/json or application/octet-stream"))),
    }
}

/// The fork of a body. SSZ does not say its own, so that the header is required with it.
pub(crate) fn content_version(headers: &HeaderMap, form: Form) -> Result<ForkName, Problem> {
    match single(headers, "eth-consensus-version")? {
        Some(v) => v.parse().map_err(|e| Problem::new(Reason::BadVersion, e)),
        None if form == Form::Json => Ok(ForkName::Fulu),
        None => Err(Problem::new(Reason::BadVersion, "Eth-Consensus-Version is required with SSZ")),
    }
}

/// The form that the caller wants most (RFC 9110, section 12.5.1). Where both are wanted equally, by
/// name, SSZ: it is a fraction of the work. Without a wish, JSON.
pub(crate) fn accepted_form(headers: &HeaderMap) -> Result<Form, Problem> {
    // Several Accept headers are one list.
    let mut wishes = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        let text = value.to_str().map_err(|_| Problem::new(Reason::BadHeader, "Accept is not plain text"))?;
        wishes.extend(text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(wish));
    }
    if wishes.is_empty() {
        return Ok(Form::Json);
    }
    let json = quality(&wishes, Form::Json);
    let ssz = quality(&wishes, Form::Ssz);
    match () {
        () if json.0 == 0 && ssz.0 == 0 => {
            let message = "only application/json and application/octet-stream are served";
            Err(Problem::new(Reason::NotAcceptable, message))
        }
        () if ssz.0 > json.0 || (ssz.0 == json.0 && ssz.1 == Specific::Full) => Ok(Form::Ssz),
        () => Ok(Form::Json),
    }
}

/// How closely a range of media types names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specific {
    None,
    Any,
    Type,
    Full,
}

/// A range and its quality in thousandths. A quality that does not read counts as none.
fn wish(text: &str) -> (String, u16) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default().to_ascii_lowercase();
    let q = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    (range, q.map_or(1000, |q| thousandths(q).unwrap_or(0)))
}

/// `0` to `1` with at most three digits behind the point.
fn thousandths(q: &str) -> Option<u16> {
    let (whole, rest) = q.split_once('.').unwrap_or((q, ""));
    if rest.len() > 3 || !rest.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let rest: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(rest),
        "1" if rest == 0 => Some(1000),
        _ => None,
    }
}

/// The quality of a form: that of the closest range that names it.
fn quality(wishes: &[(String, u16)], form: Form) -> (u16, Specific) {
    let specific = |range: &str| match range {
        r if r == form.media_type() => Specific::Full,
        "application/*" => Specific::Type,
        "*/*" => Specific::Any,
        _ => Specific::None,
    };
    let closest = wishes.iter().map(|(r, _)| specific(r)).max().unwrap_or(Specific::None);
    if closest == Specific::None {
        return (0, closest);
    }
    let of_closest = wishes.iter().filter(|(r, _)| specific(r) == closest).map(|(_, q)| *q);
    (of_closest.max().unwrap_or(0), closest)
}

/// How long the caller waits, in milliseconds, if it says so.
pub(crate) fn timeout_ms(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let read = |v: &str| {
        let digits = !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit());
        let number = if digits { v.parse().ok() } else { None };
        number.ok_or_else(|| Problem::new(Reason::BadHeader, "X-Timeout-Ms is not a whole number of milliseconds"))
    };
    single(headers, "x-timeout-ms")?.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(values: &[&str]) -> Result<Form, Reason> {
        let mut h = HeaderMap::new();
        for v in values {
            h.append(header::ACCEPT, v.parse().unwrap());
        }
        accepted_form(&h).map_err(|p| p.reason)
    }

    #[test]
    fn the_callers_qualities_decide_the_form() {
        for (given, want) in [
            (&[][..], Ok(Form::Json)),
            (&["*/*"], Ok(Form::Json)),
            (&["application/octet-stream"], Ok(Form::Ssz)),
            (&["application/json"], Ok(Form::Json)),
            (&["application/octet-stream;q=1.0,application/json;q=0.9"], Ok(Form::Ssz)),
            (&["application/octet-stream;q=0.5, application/json"], Ok(Form::Json)),
            (&["application/json, application/octet-stream"], Ok(Form::Ssz)),
            (&["application/json", "application/octet-stream;q=0.1"], Ok(Form::Json)),
            (&["*/*;q=0.1, application/octet-stream"], Ok(Form::Ssz)),
            (&["application/*;q=0.3, application/json;q=0"], Ok(Form::Ssz)),
            (&["text/html, */*;q=0.8"], Ok(Form::Json)),
            (&["text/html"], Err(Reason::NotAcceptable)),
            (&["application/json;q=0"], Err(Reason::NotAcceptable)),
            (&["application/json;q=2"], Err(Reason::NotAcceptable)),
            (&["application/json;q=0.0001"], Err(Reason::NotAcceptable)),
        ] {
            assert_eq!(accept(given), want, "{given:?}");
        }
    }

    #[test]
    fn no_header_bytes_make_it_panic() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let Ok(value) = axum::http::HeaderValue::from_bytes(bytes) else { return };
            let mut h = HeaderMap::new();
            for name in ["accept", "content-type", "content-encoding", "eth-consensus-version", "x-timeout-ms"] {
                h.insert(name, value.clone());
            }
            let _ = (accepted_form(&h), content_form(&h), timeout_ms(&h), content_version(&h, Form::Ssz));
        });
    }

    #[test]
    fn a_timeout_is_a_whole_number_or_refused() {
        let of = |v: &str| {
            let mut h = HeaderMap::new();
            h.insert("x-timeout-ms", v.parse().unwrap());
            timeout_ms(&h).map_err(|p| p.reason)
        };
        assert_eq!(of("500"), Ok(Some(500)));
        for bad in ["", "-1", "+5", "1.5", "99999999999999999999999", "abc"] {
            assert_eq!(of(bad), Err(Reason::BadHeader), "{bad:?}");
        }
    }

    #[test]
    fn a_content_type_given_twice_or_compressed_is_refused() {
        let mut h = HeaderMap::new();
        assert_eq!(content_form(&h).unwrap_err().reason, Reason::WrongContentType);
        h.insert("content-type", "application/json; charset=utf-8".parse().unwrap());
        assert_eq!(content_form(&h), Ok(Form::Json));
        h.insert("content-encoding", "gzip".parse().unwrap());
        assert_eq!(content_form(&h).unwrap_err().reason, Reason::WrongContentType);
        h.remove("content-encoding");
        h.append("content-type", "application/octet-stream".parse().unwrap());
        assert_eq!(content_form(&h).unwrap_err().reason, Reason::BadHeader);
    }
}
