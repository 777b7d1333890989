//! Links by which a person acknowledges without a token of their own.
//!
//! Guarantees: a link is of one incident, one demand and one person, signed with a secret that is never shown; it
//! does what it says once, and is worth nothing when people are asked anew. Nothing is kept for it: what it allowed is
//! in the ledger, by whom and that it was by link.

use mainstay_core::{ChangeId, Name};
use sha2::{Digest as _, Sha256};

/// Between the parts of a link: in no name, and plain in an address.
const BETWEEN: char = '~';
/// Bytes of SHA-256's blocks.
const BLOCK: usize = 64;

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Of which incident.
    pub incident: ChangeId,
    /// How often people had been asked anew.
    pub demand: u32,
    /// Whose it is.
    pub person: Name,
}

/// Signs links, and reads them.
#[derive(Clone)]
pub struct Links {
    secret: Vec<u8>,
    /// Where this server is reached from outside; links are made only where it is.
    url: Option<String>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Links")
    }
}

impl Links {
    /// Signed with `secret`, leading to `url`.
    pub fn new(secret: &str, url: Option<String>) -> Self {
        Self {
            secret: secret.as_bytes().to_vec(),
            url: url.map(|it| it.trim_end_matches('/').to_owned()),
        }
    }

    /// A link for a person, where one leads anywhere.
    pub fn to(&self, said: &Said) -> Option<String> {
        let url = self.url.as_ref()?;
        Some(format!("{url}/api/v1/acknowledge/{}", self.token(said)))
    }

    fn token(&self, said: &Said) -> String {
        let Said {
            incident,
            demand,
            person,
        } = said;
        let text = format!("{incident}{BETWEEN}{demand}{BETWEEN}{person}");
        let signature = mainstay_core::hex(&signature(&self.secret, text.as_bytes()));
        format!("{text}{BETWEEN}{signature}")
    }

    /// What a link says, if it was signed here.
    pub fn read(&self, token: &str) -> Option<Said> {
        let mut parts = token.split(BETWEEN);
        let said = Said {
            incident: parts.next()?.parse().ok()?,
            demand: parts.next()?.parse().ok()?,
            person: Name::new(parts.next()?).ok()?,
        };
        let is_signed = is_same(token.as_bytes(), self.token(&said).as_bytes());
        is_signed.then_some(said)
    }
}

/// Takes as long wherever the two differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differs = a
        .iter()
        .zip(b)
        .fold(0_u8, |differs, (a, b)| differs | (a ^ b));
    a.len() == b.len() && differs == 0
}

/// HMAC-SHA-256 (RFC 2104).
fn signature(secret: &[u8], text: &[u8]) -> [u8; 32] {
    let mut key = [0_u8; BLOCK];
    if secret.len() > BLOCK {
        let digest = Sha256::digest(secret);
        key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    } else {
        key.iter_mut()
            .zip(secret)
            .for_each(|(to, from)| *to = *from);
    }
    let padded = |pad: u8| key.map(|byte| byte ^ pad);
    let mut inner = Sha256::new();
    inner.update(padded(0x36));
    inner.update(text);
    let mut outer = Sha256::new();
    outer.update(padded(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // RFC 4231, cases 2 and 6.
        let short = mainstay_core::hex(&signature(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(
            short,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let long = mainstay_core::hex(&signature(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
        ));
        assert_eq!(
            long,
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_link_is_read_where_it_was_signed_and_nowhere_else_and_not_when_it_was_changed() {
        let links = Links::new("secret", Some("https://ops.example/".to_owned()));
        let said = Said {
            incident: "inc-1".parse().unwrap(),
            demand: 2,
            person: Name::new("alice").unwrap(),
        };
        let link = links.to(&said).unwrap();
        let token = link
            .strip_prefix("https://ops.example/api/v1/acknowledge/")
            .unwrap();
        assert_eq!(links.read(token), Some(said));
        assert_eq!(Links::new("other", None).read(token), None);
        for wrong in [
            token.replace("alice", "bob"),
            token.replace("~2~", "~3~"),
            token.replace("inc-1", "inc-2"),
            format!("{token}0"),
            token[..token.len() - 1].to_owned(),
            String::new(),
            "~~~".to_owned(),
        ] {
            assert_eq!(links.read(&wrong), None, "{wrong}");
        }
        assert_eq!(
            Links::new("secret", None).to(&links.read(token).unwrap()),
            None
        );
    }
}
