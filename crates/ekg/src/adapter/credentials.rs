//! Who the scraper says it is.
//!
//! Guarantees: a secret is shown by nothing, not by `Debug` and not by an error. One that stands in a file is read
//! for each request, so that a rotated secret is used at once.

use std::{fmt, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use serde::Deserialize;

/// Bytes of a file that holds a secret.
const FILE_BYTES_MAX: usize = 64 << 10;

/// A text that nobody is shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// One that was made here.
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// In the configuration.
    Here(Secret),
    /// In a file; blanks around it do not count.
    File(PathBuf),
}

/// What `Authorization` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Basic {
        /// The name.
        user: String,
        /// The password; none is an empty one.
        password: Option<Held>,
    },
    /// A token.
    Token {
        /// Such as `Bearer`.
        kind: String,
        /// The token.
        token: Held,
    },
}

/// Why a request has no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("the secret in {} cannot be read: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// Not a header's value.
    #[error("the secret holds characters that no header may have")]
    NoHeader,
}

impl Held {
    async fn read(&self) -> Result<String, CredentialsError> {
        match self {
            Self::Here(secret) => Ok(secret.0.clone()),
            Self::File(file) => {
                let wrong = |error| CredentialsError::File {
                    file: file.clone(),
                    error,
                };
                let text = tokio::fs::read(file).await.map_err(wrong)?;
                let text = text.get(..FILE_BYTES_MAX).unwrap_or(&text);
                let text = String::from_utf8_lossy(text);
                Ok(text.trim().to_owned())
            }
        }
    }
}

impl Credentials {
    /// The value of `Authorization`, marked as sensitive.
    pub async fn header(&self) -> Result<HeaderValue, CredentialsError> {
        let text = match self {
            Self::Basic { user, password } => {
                let password = match password {
                    Some(held) => held.read().await?,
                    None => String::new(),
                };
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
            Self::Token { kind, token } => format!("{kind} {}", token.read().await?),
        };
        let header = HeaderValue::from_str(&text);
        let mut header = header.map_err(|_| CredentialsError::NoHeader)?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Relative paths begin at `folder` from now on.
    pub(crate) fn begin_at(&mut self, folder: &std::path::Path) {
        let held = match self {
            Self::Basic { password, .. } => password.as_mut(),
            Self::Token { token, .. } => Some(token),
        };
        if let Some(Held::File(path)) = held {
            *path = folder.join(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    #[tokio::test]
    async fn a_name_and_a_password_are_basic_and_a_file_is_read_each_time() {
        let basic = Credentials::Basic {
            user: "Aladdin".into(),
            password: Some(Held::Here(secret("open sesame"))),
        };
        // The example of RFC 7617, section 2.
        let header = basic.header().await.unwrap();
        assert_eq!(header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(header.is_sensitive());

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let mut token = Credentials::Token {
            kind: "Bearer".into(),
            token: Held::File("token".into()),
        };
        token.begin_at(folder.path());
        let error = token.header().await.unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        for written in ["one\n", " two "] {
            std::fs::write(&file, written).unwrap();
            let expected = format!("Bearer {}", written.trim());
            assert_eq!(token.header().await.unwrap(), expected);
        }
    }

    #[test]
    fn nothing_shows_a_secret() {
        let token = Credentials::Token {
            kind: "Bearer".into(),
            token: Held::Here(secret("hunter2")),
        };
        assert!(!format!("{token:?}").contains("hunter2"));
    }
}
