//! Who asks: by API key, else by address.

use crate::{
    config::{ApiKey, Config, ConfigError},
    error::GatewayError,
    rates::{CallerKey, Rate},
    secret::secret,
};
use http::{HeaderMap, header, uri::Authority};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// A caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The API key's name, or the address. What modules and logs see.
    pub name: Arc<str>,
    /// Whose bucket.
    pub key: CallerKey,
    /// How fast it may ask; `None` for as fast as it can.
    pub rate: Option<Rate>,
    /// Whether it holds the admin token.
    pub admin: bool,
}

/// The known keys, by their hashes: finding one takes no longer for a better guess.
pub(crate) struct Callers {
    keys: HashMap<[u8; 32], (usize, Arc<str>, Option<Rate>)>,
    admin: Option<crate::AdminToken>,
    stranger: Option<Rate>,
    loopback: Option<Rate>,
}

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    (per_second > 0).then_some(Rate { per_second, burst })
}

impl Callers {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let mut keys = HashMap::new();
        for (i, key) in config.api_keys.iter().enumerate() {
            let ApiKey { name, key_file, key_env, per_second, burst } = key;
            let place = format!("api_keys[{i}].key");
            let text = secret(&place, key_file.as_deref(), key_env.as_deref())?;
            let text = text
                .filter(|t| t.len() >= 16)
                .ok_or_else(|| ConfigError::Value { key: place.clone(), why: "at least 16 characters".into() })?;
            let known = (i, name.as_str().into(), rate(*per_second, *burst));
            if keys.insert(Sha256::digest(text.as_bytes()).into(), known).is_some() {
                return Err(ConfigError::Value { key: place, why: "another caller has the same key".into() });
            }
        }
        let r = &config.rates;
        Ok(Self {
            keys,
            admin: config.admin_token()?,
            stranger: rate(r.per_second, r.burst),
            loopback: rate(r.loopback_per_second, r.loopback_burst),
        })
    }

    pub(crate) const fn has_admin(&self) -> bool {
        self.admin.is_some()
    }

    /// Who sent these headers from there.
    pub(crate) fn identify(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<Caller, GatewayError> {
        let address = peer.ip().to_canonical();
        let by_address = |admin| Caller {
            name: address.to_string().into(),
            key: CallerKey::of(address),
            rate: if admin { None } else { self.rate_of(address) },
            admin,
        };
        let Some(token) = token(headers)? else { return Ok(by_address(false)) };
        if self.admin.as_ref().is_some_and(|a| a.matches(token)) {
            return Ok(by_address(true));
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let (i, name, rate) = self.keys.get(&digest).ok_or(GatewayError::Unauthorized)?;
        Ok(Caller { name: name.clone(), key: CallerKey::Key(*i), rate: *rate, admin: false })
    }

    pub(crate) fn rate_of(&self, address: IpAddr) -> Option<Rate> {
        if address.is_loopback() { self.loopback } else { self.stranger }
    }
}

/// The one token of a request. Two are one too many: which of them counts would be a guess.
fn token(headers: &HeaderMap) -> Result<Option<&str>, GatewayError> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter().chain(headers.get_all("x-api-key").iter());
    let (Some(first), None) = (all.next(), all.next()) else {
        let none = !headers.contains_key(header::AUTHORIZATION) && !headers.contains_key("x-api-key");
        return if none { Ok(None) } else { Err(GatewayError::Unauthorized) };
    };
    let text = first.to_str().map_err(|_| GatewayError::Unauthorized)?;
    if headers.contains_key(header::AUTHORIZATION) {
        let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return token.map(|(_, t)| Some(t.trim())).ok_or(GatewayError::Unauthorized);
    }
    Ok(Some(text))
}

/// Whether a request names this host: an address, `localhost`, or one of the configured names. It may do
/// so in its `Host` header, and in its address too (RFC 9112, section 3.2.2): then both count.
pub(crate) fn is_our_host(headers: &HeaderMap, address: Option<&Authority>, hosts: &[String]) -> bool {
    let mut given = headers.get_all(header::HOST).iter();
    // HTTP/1.0 has no Host; browsers always send one.
    let first = given.next().map(|v| v.to_str().ok().and_then(|t| t.parse::<Authority>().ok()));
    let one = given.next().is_none();
    let ours = |a: &Authority| is_our_name(a, hosts);
    one && first.is_none_or(|f| f.is_some_and(|a| ours(&a))) && address.is_none_or(ours)
}

fn is_our_name(authority: &Authority, hosts: &[String]) -> bool {
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|h| h.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn host(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(value).unwrap());
        is_our_host(&headers, None, &["node.example".into()])
    }

    #[test]
    fn two_hosts_or_an_address_of_another_one_are_not_ours() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        let address = |a: &'static str| Some(Authority::from_static(a));
        assert!(is_our_host(&headers, address("127.0.0.1:80").as_ref(), &[]));
        assert!(!is_our_host(&headers, address("evil.example").as_ref(), &[]));
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(!is_our_host(&headers, None, &[]));
    }

    #[test]
    fn only_addresses_and_configured_names_are_our_hosts() {
        for ours in ["127.0.0.1:18650", "[::1]:1", "localhost", "LOCALHOST:80", "node.example:443", "10.1.2.3"] {
            assert!(host(ours), "{ours}");
        }
        for other in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a@b@c"] {
            assert!(!host(other), "{other}");
        }
    }

    #[test]
    fn two_tokens_are_refused_and_one_is_taken() {
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers), Ok(None));
        headers.insert("x-api-key", HeaderValue::from_static("k"));
        assert_eq!(token(&headers), Ok(Some("k")));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        assert_eq!(token(&headers), Err(GatewayError::Unauthorized));
        headers.remove("x-api-key");
        assert_eq!(token(&headers), Ok(Some("t")));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic t"));
        assert_eq!(token(&headers), Err(GatewayError::Unauthorized));
    }
}
