//! Parameters as Prometheus reads them: from the query string, and from a form if one is posted.
//!
//! Guarantees: the form's come first, unknown ones are ignored, an empty one is absent. Times are Unix
//! seconds or RFC 3339, steps seconds or durations; both are whole milliseconds from here on.

use axum::{
    Form,
    extract::{FromRequest, Query, Request},
    http::header,
};
use mainstay_core::{Span, Time};

/// Selectors of one request: more are a mistake of whoever builds them.
const SELECTORS_MAX: usize = 256;
/// Seconds that still are whole milliseconds in 64 bits.
const SECONDS_MAX: f64 = 9.0e15;

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) String);

impl Wrong {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    pub(crate) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("invalid parameter {name:?}: {why}"))
    }
}

/// All parameters, in order.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// The first of this name, or nothing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or("")
    }

    /// Each of this name, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// A time, `absent` if there is none.
    pub(crate) fn time(&self, name: &str, absent: Time) -> Result<Time, Wrong> {
        match self.text(name) {
            "" => Ok(absent),
            _ => self.needed_time(name),
        }
    }

    /// A time that must be there.
    pub(crate) fn needed_time(&self, name: &str) -> Result<Time, Wrong> {
        let text = self.text(name);
        let wrong = || {
            let why = format!("cannot parse {text:?} to a valid timestamp");
            Wrong::parameter(name, why)
        };
        if let Ok(seconds) = text.parse::<f64>() {
            return millis(seconds).map(Time::from_millis).ok_or_else(wrong);
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        Ok(Time::from_millis(time.as_millisecond()))
    }

    /// The step; zero where it is not positive.
    pub(crate) fn step(&self) -> Result<Span, Wrong> {
        self.span("step")
    }

    /// How long a query may compute; without end where nothing is said, so that the engine's own limit holds.
    pub(crate) fn timeout(&self) -> Result<Span, Wrong> {
        match self.text("timeout") {
            "" => Ok(Span::from_millis(u64::MAX)),
            _ => self.span("timeout"),
        }
    }

    /// Seconds or a duration; zero where it is not positive.
    fn span(&self, name: &str) -> Result<Span, Wrong> {
        let text = self.text(name);
        let wrong = || Wrong::parameter(name, format!("cannot parse {text:?} to a valid duration"));
        if let Ok(seconds) = text.parse::<f64>() {
            let ms = millis(seconds).ok_or_else(wrong)?;
            return Ok(Span::from_millis(u64::try_from(ms).unwrap_or(0)));
        }
        text.parse().map_err(|_| wrong())
    }

    /// Entries of the answer; zero is no limit, as there.
    pub(crate) fn limit(&self) -> Result<Option<usize>, Wrong> {
        self.count("limit")
    }

    /// A number of entries; none, and zero, is no limit.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, Wrong> {
        match self.text(name) {
            "" | "0" => Ok(None),
            text => {
                let limit = text.parse();
                let why = format!("cannot parse {text:?} to a number of entries");
                limit.map(Some).map_err(|_| Wrong::parameter(name, why))
            }
        }
    }

    /// The selectors `match[]`.
    pub(crate) fn selectors(&self) -> Result<Vec<&str>, Wrong> {
        let selectors: Vec<&str> = self.all("match[]").collect();
        if selectors.len() > SELECTORS_MAX {
            let why = format!(
                "{} selectors, the limit is {SELECTORS_MAX}",
                selectors.len()
            );
            return Err(Wrong::parameter("match[]", why));
        }
        Ok(selectors)
    }
}

/// The label's name that a path names: where it begins with `U__`, `_2e_` stands for the character U+002E and `__`
/// for an underscore, so that any name fits into a path.
pub(crate) fn unescaped(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else {
        return name.to_owned();
    };
    let mut plain = String::new();
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('_') {
        plain.push_str(before);
        let Some((code, after)) = after.split_once('_') else {
            return name.to_owned();
        };
        match (
            code,
            u32::from_str_radix(code, 16).ok().and_then(char::from_u32),
        ) {
            ("", _) => plain.push('_'),
            (_, Some(character)) => plain.push(character),
            (_, None) => return name.to_owned(),
        }
        rest = after;
    }
    plain.push_str(rest);
    plain
}

fn millis(seconds: f64) -> Option<i64> {
    let known = seconds.is_finite() && seconds.abs() <= SECONDS_MAX;
    known.then(|| (seconds * 1_000.0).round() as i64)
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Wrong;

    async fn from_request(request: Request, state: &S) -> Result<Self, Wrong> {
        let wrong =
            |error: &dyn std::fmt::Display| Wrong::new(format!("error parsing form: {error}"));
        let Query(asked) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
            .map_err(|error| wrong(&error))?;
        let content = request.headers().get(header::CONTENT_TYPE);
        let content = content.and_then(|value| value.to_str().ok()).unwrap_or("");
        let form = content.starts_with("application/x-www-form-urlencoded")
            && request.method() == axum::http::Method::POST;
        let mut all = Vec::new();
        if form {
            Form(all) = Form::<Vec<(String, String)>>::from_request(request, state)
                .await
                .map_err(|error| wrong(&error))?;
        }
        all.extend(asked);
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(name: &str, value: &str) -> Params {
        Params(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let seconds = [
            ("0", 0),
            ("1435781451.781", 1_435_781_451_781),
            ("-1.5", -1_500),
            ("1e3", 1_000_000),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781),
        ];
        for (text, ms) in seconds {
            let got = params("time", text).time("time", Time::from_millis(7));
            assert_eq!(got, Ok(Time::from_millis(ms)), "{text}");
        }
        let absent = params("time", "").time("time", Time::from_millis(7));
        assert_eq!(absent, Ok(Time::from_millis(7)));
        for text in ["now", "NaN", "inf", "1e300", "2015-07-01", "20:10"] {
            let Wrong(why) = params("time", text).needed_time("time").unwrap_err();
            let expected = format!("invalid parameter \"time\": cannot parse {text:?}");
            assert!(why.starts_with(&expected), "{why}");
        }
    }

    #[test]
    fn any_name_of_a_label_fits_into_a_path() {
        for (path, name) in [
            ("job", "job"),
            ("U__http_2e_status__code", "http.status_code"),
            ("U__a", "a"),
            ("U__a_xyz_", "U__a_xyz_"),
            ("U__a_2e", "U__a_2e"),
        ] {
            assert_eq!(unescaped(path), name, "{path}");
        }
    }

    #[test]
    fn steps_are_seconds_or_durations() {
        for (text, ms) in [
            ("15", 15_000),
            ("0.5", 500),
            ("1m30s", 90_000),
            ("-3", 0),
            ("0", 0),
        ] {
            assert_eq!(
                params("step", text).step(),
                Ok(Span::from_millis(ms)),
                "{text}"
            );
        }
        for text in ["", "x", "1s1m", "inf"] {
            assert!(params("step", text).step().is_err(), "{text}");
        }
    }
}
