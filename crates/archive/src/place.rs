//! Where objects are kept: a bucket of S3 or of what speaks like it, or a folder.
//!
//! Guarantees: a place that cannot be meant is refused with what to write instead; none carries a secret.

use std::path::{Path, PathBuf};

use url::Url;

/// A place as it is written.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// `s3://BUCKET/PREFIX` or `file:///FOLDER`.
    pub url: String,
    /// Where a bucket is, if not at Amazon's.
    pub endpoint: Option<String>,
    /// Its region; what the environment says, or `us-east-1`, where unset.
    pub region: Option<String>,
    /// A file of keys as Amazon's tools have it; the environment where unset.
    pub credentials_file: Option<PathBuf>,
}

/// What kind of place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder(PathBuf),
    Bucket { name: String, prefix: String },
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    url: String,
    pub(crate) kind: Kind,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) credentials_file: Option<PathBuf>,
}

/// Why a place cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No address, or one of another kind.
    #[error("`{0}` is no place for copies: write s3://BUCKET/PREFIX or file:///FOLDER")]
    Unknown(String),
    /// It carries a name or a password.
    #[error(
        "the address of a place may carry no user and no password: put keys into the environment \
         (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or into the file that `credentials_file` names"
    )]
    Secret,
    /// A folder has none of these.
    #[error("a file:// place has no `{0}`: leave it out, or name a bucket")]
    NotOfAFolder(&'static str),
    /// The endpoint is none.
    #[error("`{0}` is no endpoint, such as https://minio.example:9000")]
    Endpoint(String),
}

impl Place {
    /// The place that a section means.
    pub fn of(section: Section) -> Result<Self, PlaceError> {
        let unknown = || PlaceError::Unknown(section.url.clone());
        let url = Url::parse(&section.url).map_err(|_| unknown())?;
        let has_user = |url: &Url| !url.username().is_empty() || url.password().is_some();
        if has_user(&url) {
            return Err(PlaceError::Secret);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(unknown());
        }
        let kind = match url.scheme() {
            "file" => Kind::Folder(url.to_file_path().map_err(|()| unknown())?),
            "s3" => Kind::Bucket {
                name: url.host_str().ok_or_else(unknown)?.to_owned(),
                prefix: url.path().trim_matches('/').to_owned(),
            },
            _ => return Err(unknown()),
        };
        if let Kind::Folder(_) = kind {
            let said = [
                ("endpoint", section.endpoint.is_some()),
                ("region", section.region.is_some()),
                ("credentials_file", section.credentials_file.is_some()),
            ];
            if let Some((field, _)) = said.into_iter().find(|(_, is_said)| *is_said) {
                return Err(PlaceError::NotOfAFolder(field));
            }
        }
        if let Some(endpoint) = &section.endpoint {
            let wrong = || PlaceError::Endpoint(endpoint.clone());
            let url = Url::parse(endpoint).map_err(|_| wrong())?;
            if has_user(&url) {
                return Err(PlaceError::Secret);
            }
            if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
                return Err(wrong());
            }
        }
        Ok(Self {
            kind,
            url: section.url,
            endpoint: section.endpoint,
            region: section.region,
            credentials_file: section.credentials_file,
        })
    }

    /// The address, as it was written.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Has relative files begin at `folder`.
    pub fn begin_at(&mut self, folder: &Path) {
        if let Some(file) = &mut self.credentials_file {
            *file = folder.join(&file);
        }
    }
}

/// Keys of a bucket's owner.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) session: Option<String>,
}

impl Keys {
    /// The keys in a text as Amazon's tools write it: of the profile `default`, or of the only one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (mut keys, mut counts) = (Self::default(), true);
        for line in text.lines().map(str::trim) {
            if let Some(profile) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                counts = profile.trim() == "default" || keys == Self::default();
            } else if let Some((name, value)) = line.split_once('=').filter(|_| counts) {
                let value = value.trim().to_owned();
                match name.trim() {
                    "aws_access_key_id" => keys.id = value,
                    "aws_secret_access_key" => keys.secret = value,
                    "aws_session_token" => keys.session = Some(value),
                    _ => {}
                }
            }
        }
        (!keys.id.is_empty() && !keys.secret.is_empty()).then_some(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<Place, PlaceError> {
        Place::of(Section {
            url: url.to_owned(),
            ..Section::default()
        })
    }

    #[test]
    fn a_place_is_a_bucket_or_a_folder_and_carries_no_secret() {
        let bucket = Kind::Bucket {
            name: "copies".to_owned(),
            prefix: "a/b".to_owned(),
        };
        assert_eq!(of("s3://copies/a/b/").unwrap().kind, bucket);
        let folder = Kind::Folder(PathBuf::from("/mnt/copies"));
        assert_eq!(of("file:///mnt/copies").unwrap().kind, folder);
        for wrong in [
            "copies",
            "/mnt/copies",
            "ftp://a/b",
            "s3://a/b?x=1",
            "file://host/a",
        ] {
            assert_eq!(
                of(wrong),
                Err(PlaceError::Unknown(wrong.to_owned())),
                "{wrong}"
            );
        }
        assert_eq!(of("s3://alice:hunter2@copies/a"), Err(PlaceError::Secret));
        let with = |endpoint: &str, url: &str| {
            Place::of(Section {
                url: url.to_owned(),
                endpoint: Some(endpoint.to_owned()),
                ..Section::default()
            })
        };
        assert!(with("http://127.0.0.1:9000", "s3://a/b").is_ok());
        assert!(matches!(
            with("minio:9000", "s3://a/b"),
            Err(PlaceError::Endpoint(_))
        ));
        let refused = with("http://a:9000", "file:///a");
        assert_eq!(refused, Err(PlaceError::NotOfAFolder("endpoint")));
    }

    #[test]
    fn keys_are_those_of_the_default_profile() {
        let text = "[other]\naws_access_key_id = A\naws_secret_access_key = B\n\
                    [default]\naws_access_key_id=C\naws_secret_access_key=D\n[more]\naws_access_key_id=E\n";
        let keys = Keys::read(text).unwrap();
        assert_eq!((&*keys.id, &*keys.secret), ("C", "D"));
        assert!(Keys::read("aws_access_key_id = A\n").is_none());
        let bare = Keys::read("aws_access_key_id = A\naws_secret_access_key = B=\n");
        assert_eq!(bare.unwrap().secret, "B=");
    }
}
