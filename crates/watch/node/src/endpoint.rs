//! An address that never shows its credentials.

use crate::NodeError;
use serde::{Deserialize, Deserializer};
use std::{fmt, str::FromStr};
use url::Url;

/// A node's HTTP address. User, password, path and query may be secrets (hosted nodes put API keys
/// there), so `Debug` and `Display` show scheme, host and port only. It does not serialise.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// The address for a path below it: the endpoint's own path, then `path`, which starts with `/`.
    pub(crate) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        if !path.is_empty() {
            let base = self.0.path().trim_end_matches('/');
            url.set_path(&format!("{base}{path}"));
        }
        if query.is_some() {
            url.set_query(query);
        }
        url
    }
    /// The user name in the address: relays carry their public key there.
    pub fn user(&self) -> Option<&str> {
        Some(self.0.username()).filter(|u| !u.is_empty())
    }
    /// The same address without user and password.
    pub(crate) fn without_user(mut self) -> Self {
        // Both setters fail only for addresses that can have no host, which `from_str` refuses.
        let _ = self.0.set_username("");
        let _ = self.0.set_password(None);
        self
    }
}

impl FromStr for Endpoint {
    type Err = NodeError;
    fn from_str(s: &str) -> Result<Self, NodeError> {
        let url = Url::parse(s).map_err(|e| NodeError::Address { why: e.to_string() })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(NodeError::Address { why: format!("scheme {:?} is not http or https", url.scheme()) });
        }
        if !url.has_host() {
            return Err(NodeError::Address { why: "the host is missing".into() });
        }
        Ok(Self(url))
    }
}
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |p| write!(f, ":{p}"))
    }
}
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}
impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_neither_password_nor_key_in_its_path() {
        let e: Endpoint = "https://me:hunter2@node.example:8443/v3/apikey?token=t0k".parse().unwrap();
        for shown in [format!("{e}"), format!("{e:?}")] {
            assert!(shown.contains("node.example:8443"));
            for secret in ["me:", "hunter2", "apikey", "t0k"] {
                assert!(!shown.contains(secret), "{shown} shows {secret}");
            }
        }
    }

    #[test]
    fn paths_go_below_the_endpoints_own() {
        let e: Endpoint = "http://h:1/key/".parse().unwrap();
        assert_eq!(e.at("/eth/v1/node/version").as_str(), "http://h:1/key/eth/v1/node/version");
        assert_eq!(e.at("/a?x=1").as_str(), "http://h:1/key/a?x=1");
        assert_eq!(e.at("").as_str(), "http://h:1/key/");
    }

    #[test]
    fn only_http_addresses_are_taken_and_errors_do_not_repeat_them() {
        for bad in ["ws://u:secret@h", "file:///secret", "secret"] {
            let e = bad.parse::<Endpoint>().unwrap_err().to_string();
            assert!(!e.contains("secret"), "{e}");
        }
    }
}
